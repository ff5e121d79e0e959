#include "kernels/boolean_product/boolean_product.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

constexpr int64_t kSteps = 31;  // a byte counter grows by up to 8 per step: 31 · 8 ≤ 255
constexpr int kVectors = 4;     // of two columns each

// Computes eight columns, of which p.cols − col exist.
template <int kRows>
MBOK_INLINE void tile(const BooleanProduct& p, int64_t row, int64_t col) {
  const uint64_t* const x = p.x + row * p.words;
  const uint64_t* const w = p.w + col * p.words;
  uint32x4_t totals[kRows][kVectors];  // two partial sums per column
  MBOK_UNROLL
  for (int r = 0; r < kRows; ++r) {
    MBOK_UNROLL
    for (int v = 0; v < kVectors; ++v) totals[r][v] = vdupq_n_u32(0);
  }
  for (int64_t i = 0; i < p.words;) {
    uint8x16_t bytes[kRows][kVectors];
    MBOK_UNROLL
    for (int r = 0; r < kRows; ++r) {
      MBOK_UNROLL
      for (int v = 0; v < kVectors; ++v) bytes[r][v] = vdupq_n_u8(0);
    }
    for (const int64_t end = i + kSteps < p.words ? i + kSteps : p.words; i < end; ++i) {
      uint64x2_t columns[kVectors];
      MBOK_UNROLL
      for (int v = 0; v < kVectors; ++v) columns[v] = vld1q_u64(w + i * kPackedColumns + 2 * v);
      MBOK_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const uint64x2_t word = vld1q_dup_u64(x + r * p.words + i);
        MBOK_UNROLL
        for (int v = 0; v < kVectors; ++v)
          bytes[r][v] = vaddq_u8(bytes[r][v], vcntq_u8(vreinterpretq_u8_u64(veorq_u64(word, columns[v]))));
      }
    }
    MBOK_UNROLL
    for (int r = 0; r < kRows; ++r) {
      MBOK_UNROLL
      for (int v = 0; v < kVectors; ++v) totals[r][v] = vpadalq_u16(totals[r][v], vpaddlq_u8(bytes[r][v]));
    }
  }
  const int64_t count = p.cols - col < kPackedColumns ? p.cols - col : kPackedColumns;
  const Vec bias = p.bias != nullptr ? load_n(p.bias + col, count) : zero();
  const int32x4_t depth = vdupq_n_s32(static_cast<int32_t>(p.depth));
  MBOK_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const auto products = [&](int v) MBOK_INLINE_LAMBDA {
      const int32x4_t different = vreinterpretq_s32_u32(vpaddq_u32(totals[r][v], totals[r][v + 1]));
      return vcvtq_f32_s32(vsubq_s32(depth, vshlq_n_s32(different, 1)));
    };
    Vec value = Vec{products(0), products(2)} * broadcast(p.factor) + bias;
    float* const y = p.y + (row + r) * p.y_stride + col;
    if (p.accumulate) value = load_n(y, count) + value;
    store_n(y, value, count);
  }
}

}  // namespace

void boolean_product(const BooleanProduct& p) {
  for (int64_t col = 0; col < p.cols; col += kPackedColumns) {
    int64_t row = 0;
    for (; row + 4 <= p.rows; row += 4) tile<4>(p, row, col);
    for (; row < p.rows; ++row) tile<1>(p, row, col);
  }
}

}  // namespace mbok::neon
#endif
