#include "operations/normal_equations.h"

#include <cmath>

namespace mbok {

void solve_normal_equations(const double* gram, const double* moment, int unknowns, double ridge, double* x) {
  const int k = unknowns;
  double mean = 0;
  for (int i = 0; i < k; ++i) mean += gram[i * k + i] / k;
  double l[kMaxUnknowns * kMaxUnknowns];  // Cholesky factor
  double y[kMaxUnknowns];
  for (int i = 0; i < k; ++i) {
    double right = moment[i];
    for (int j = 0; j <= i; ++j) {
      double sum = gram[i * k + j] + (i == j ? ridge * mean : 0);
      for (int s = 0; s < j; ++s) sum -= l[i * k + s] * l[j * k + s];
      // a pivot below the ridge is rounding: only a gram of zeros has one
      if (i == j)
        l[i * k + i] = sum > 0 ? std::sqrt(sum) : 0;
      else
        l[i * k + j] = l[j * k + j] > 0 ? sum / l[j * k + j] : 0;
    }
    for (int s = 0; s < i; ++s) right -= l[i * k + s] * y[s];
    y[i] = l[i * k + i] > 0 ? right / l[i * k + i] : 0;
  }
  for (int i = k - 1; i >= 0; --i) {
    double right = y[i];
    for (int s = i + 1; s < k; ++s) right -= l[s * k + i] * x[s];
    x[i] = l[i * k + i] > 0 ? right / l[i * k + i] : 0;
  }
}

}  // namespace mbok
