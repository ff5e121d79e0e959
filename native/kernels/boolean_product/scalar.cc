#include "kernels/boolean_product/boolean_product.h"

namespace mbok::scalar {

void boolean_product(const BooleanProduct& p) {
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t c = 0; c < p.cols; ++c) {
      const uint64_t* const w = p.w + c / kPackedColumns * p.words * kPackedColumns + c % kPackedColumns;
      int64_t different = 0;
      for (int64_t i = 0; i < p.words; ++i)
        different += __builtin_popcountll(p.x[r * p.words + i] ^ w[i * kPackedColumns]);
      const float bias = p.bias != nullptr ? p.bias[c] : 0.0f;
      const float value = p.factor * static_cast<float>(p.depth - 2 * different) + bias;
      float& y = p.y[r * p.y_stride + c];
      y = p.accumulate ? y + value : value;
    }
}

void pack_columns(const uint64_t* rows, int64_t count, int64_t words, uint64_t* packed) {
  for (int64_t word = 0; word < words; ++word)
    for (int64_t c = 0; c < kPackedColumns; ++c) *packed++ = c < count ? rows[c * words + word] : 0;
}

}  // namespace mbok::scalar
