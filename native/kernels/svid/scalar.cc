#include "kernels/svid/svid.h"

#include <cmath>

namespace mbok::scalar {

void magnitude_step(const float* r, int64_t rows, int64_t n, const double* v, double* u, double* sum) {
  for (int64_t j = 0; j < n; ++j) sum[j] = 0;
  for (int64_t i = 0; i < rows; ++i, r += n) {
    double dot = 0;
    for (int64_t j = 0; j < n; ++j) dot += std::fabs(static_cast<double>(r[j])) * v[j];
    for (int64_t j = 0; j < n; ++j) sum[j] += dot * std::fabs(static_cast<double>(r[j]));
    u[i] = dot;
  }
}

double extract_row(const float* r, float s_out, const float* s_in, int64_t n, uint64_t* bits, float* out) {
  double squares = 0;
  for (int64_t w = 0; 64 * w < n; ++w) {
    uint64_t word = 0;
    for (int64_t j = 64 * w; j < n && j < 64 * w + 64; ++j) {
      const bool positive = r[j] >= 0;
      if (positive) word |= uint64_t{1} << (j % 64);
      const float magnitude = s_out * s_in[j];
      out[j] = positive ? r[j] - magnitude : r[j] + magnitude;
      squares += static_cast<double>(out[j]) * out[j];
    }
    bits[w] = word;
  }
  return squares;
}

}  // namespace mbok::scalar
