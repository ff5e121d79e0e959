#include "kernels/compensated_signs/compensated_signs.h"

#include <cmath>

#include "kernels/refit/refit.h"

namespace mbok::scalar {

void compensate(const CompensationBlock& block) {
  for (int64_t l = 0; l < block.cols; ++l)
    for (int k = 0; k < block.kernels; ++k) block.signs[k * block.signs_stride + l] = 0;
  for (int64_t r = 0; r < block.rows; ++r) {
    float* errors = block.errors + r * kCompensationCols;
    for (int64_t l = 0; l < block.cols; ++l) {
      float x = block.w[r * block.w_stride + l];
      for (int64_t j = 0; j < l; ++j) x = std::fma(errors[j], block.u[j * block.u_stride + l], x);
      float magnitude[kMaxRefitKernels];
      for (int k = 0; k < block.kernels; ++k)
        magnitude[k] = block.s_out[k * block.s_out_stride + r] * block.s_in[k * block.s_in_stride + l];
      float level;
      const uint64_t code = nearest_code(x, magnitude, block.kernels, &level);
      errors[l] = (level - x) / block.u[l * block.u_stride + l];
      for (int k = 0; k < block.kernels; ++k) block.signs[k * block.signs_stride + l] |= ((code >> k) & 1) << r;
    }
  }
}

}  // namespace mbok::scalar
