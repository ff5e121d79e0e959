// Small least-squares problems: one K × K system per row or column of a multi-Boolean matrix.
#pragma once

namespace mbok {

constexpr int kMaxUnknowns = 8;

// Solves x = (gram + ridge · mean(diag gram) · I)⁻¹ moment for a symmetric positive semidefinite gram [K, K], K ≤ 8. x
// is 0 for a gram of zeros and in every direction that the system does not determine.
void solve_normal_equations(const double* gram, const double* moment, int unknowns, double ridge, double* x);

}  // namespace mbok
