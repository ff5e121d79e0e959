#include "kernels/half/half.h"
#include "kernels/q8/q8.h"

namespace mbok::scalar {

void q8_widen(const Q8Row& row, int64_t block, float* to, int64_t count) {
  float scale = 0;
  for (int64_t j = 0; j < count; ++j) {
    if (j % kQ8Block == 0) f16_widen(row.scales + block + j / kQ8Block, &scale, 1);
    to[j] = scale * static_cast<float>(row.numbers[block * kQ8Block + j]);
  }
}

}  // namespace mbok::scalar
