// Soft cap y = c · tanh(x / c) and gradient dx = dy · (1 − tanh²(x / c)), element by element, for a cap c > 0. It is
// the identity for small x and never exceeds ±c (Gemma 2's logits, arXiv 2408.00118 §2).
//
// Vector versions are within 1e-6 · |y| of the scalar reference. NaN in, NaN out. Forward and gradient cost one
// exponential and one division per element, about as much as moving its 8 (12) bytes.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

// y may be x; dx may be dy.
using SoftcapFunction = void(float cap, const float* x, float* y, int64_t count);
using SoftcapGradientFunction = void(float cap, const float* dy, const float* x, float* dx, int64_t count);

namespace scalar {
SoftcapFunction softcap;
SoftcapGradientFunction softcap_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(SoftcapFunction softcap; SoftcapGradientFunction softcap_gradient;)

extern const KernelTable<SoftcapFunction> softcap_table;
extern const KernelTable<SoftcapGradientFunction> softcap_gradient_table;

}  // namespace mbok
