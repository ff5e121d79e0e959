// Tiles of 4 rows by 16 columns. usmmla multiplies two columns by two rows, eight numbers of the depth each.
#include "kernels/dense_product/candidates.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
MBOK_TARGET_I8MM
namespace mbok::neon {
namespace {

#include "kernels/dense_product/int8_sums.h"
#include "kernels/dense_product/panels.h"
#include "kernels/dense_product/start_of.h"

constexpr int kTileRows = 4, kTileCols = 16, kColumnPairs = kTileCols / 2;
constexpr int64_t kPairedBytes = 4 * kInt8Steps * kPanelCols;

// Interleaves two steps, once for all rows: eight numbers per column, two columns per register.
MBOK_INLINE void pair_steps(const ProductBlock& p, uint8_t* paired) {
  constexpr int64_t kStepBytes = 4 * kPanelCols;
  const uint8_t* b = static_cast<const uint8_t*>(p.b);
  for (int64_t d = 0; d < p.depth; d += 2, b += 2 * kStepBytes)
    for (int64_t at = 0; at < kStepBytes; at += 16, paired += 32) {
      const uint32x4_t first = vreinterpretq_u32_u8(vld1q_u8(b + at));
      const uint32x4_t second = vreinterpretq_u32_u8(vld1q_u8(b + kStepBytes + at));
      vst1q_u8(paired, vreinterpretq_u8_u32(vzip1q_u32(first, second)));
      vst1q_u8(paired + 16, vreinterpretq_u8_u32(vzip2q_u32(first, second)));
    }
}

// Returns the sums of four columns in the even or the odd row of a pair.
MBOK_INLINE float32x4_t row_of_pair(int32x4_t a, int32x4_t b, bool odd) {
  return vcvtq_f32_s32(odd ? vuzp2q_s32(a, b) : vuzp1q_s32(a, b));
}

// Multiplies `Rows` rows by up to kTileCols columns of C. An odd last row is paired with itself.
template <int Rows>
MBOK_INLINE void multiply_tile(const ProductBlock& p, const uint8_t* paired, int64_t row, int64_t col) {
  constexpr int kPairs = (Rows + 1) / 2;
  const float* a[2 * kPairs];
  int32x4_t sums[kPairs][kColumnPairs];  // [column, row] of two columns and two rows
  MBOK_UNROLL
  for (int i = 0; i < 2 * kPairs; ++i)
    a[i] = static_cast<const float*>(p.a) + (row + (i < Rows ? i : Rows - 1)) * p.a_row;
  MBOK_UNROLL
  for (int i = 0; i < kPairs; ++i) {
    // subtract in advance what +128 in every byte of B adds
    int32_t first[2];
    __builtin_memcpy(first, a[2 * i] + kInt8Steps + 1, sizeof first[0]);
    __builtin_memcpy(first + 1, a[2 * i + 1] + kInt8Steps + 1, sizeof first[1]);
    MBOK_UNROLL
    for (int c = 0; c < kColumnPairs; ++c) sums[i][c] = int32x4_t{first[0], first[1], first[0], first[1]};
  }
  const uint8_t* b = paired + col * 8;
  for (int64_t d = 0; d < p.depth; d += 2, b += 8 * kPanelCols) {
    int8x16_t rows[kPairs];
    MBOK_UNROLL
    for (int i = 0; i < kPairs; ++i)
      rows[i] = vcombine_s8(vld1_s8(reinterpret_cast<const int8_t*>(a[2 * i] + d)),
                            vld1_s8(reinterpret_cast<const int8_t*>(a[2 * i + 1] + d)));
    MBOK_UNROLL
    for (int c = 0; c < kColumnPairs; ++c) {
      const uint8x16_t columns = vld1q_u8(b + 16 * c);
      MBOK_UNROLL
      for (int i = 0; i < kPairs; ++i) sums[i][c] = vusmmlaq_s32(sums[i][c], columns, rows[i]);
    }
  }
  MBOK_UNROLL
  for (int r = 0; r < Rows; ++r) {
    float* const c = p.c + (row + r) * p.c_stride + col;
    MBOK_UNROLL
    for (int v = 0; v < kTileCols / kLanes; ++v) {
      const int64_t left = p.cols - col - v * kLanes;
      const int64_t lanes = left < kLanes ? (left < 0 ? 0 : left) : kLanes;
      const int32x4_t(&s)[kColumnPairs] = sums[r / 2];
      const Vec values = {row_of_pair(s[4 * v], s[4 * v + 1], r % 2 != 0),
                          row_of_pair(s[4 * v + 2], s[4 * v + 3], r % 2 != 0)};
      const Vec start = start_of(p, c + v * kLanes, col + v * kLanes, lanes);
      store_n(c + v * kLanes, add_scaled(p, a[r], col + v * kLanes, start, values), lanes);
    }
  }
}

void multiply_panel(const ProductBlock& p) {
  alignas(64) uint8_t paired[kPairedBytes];
  pair_steps(p, paired);
  for (int64_t col = 0; col < p.cols; col += kTileCols) {
    int64_t row = 0;
    for (; row + kTileRows <= p.rows; row += kTileRows) multiply_tile<kTileRows>(p, paired, row, col);
    if (p.rows - row >= 2) {
      multiply_tile<2>(p, paired, row, col);
      row += 2;
    }
    if (row < p.rows) multiply_tile<1>(p, paired, row, col);
  }
}

}  // namespace

void dense_product_i8mm(const ProductBlock& block) { for_each_panel(block, multiply_panel); }

}  // namespace mbok::neon
MBOK_TARGET_END
#endif
