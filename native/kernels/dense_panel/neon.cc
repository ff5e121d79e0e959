#include "kernels/dense_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/neon.h"

#if defined(MBOK_NEON)
namespace mbok::neon {
namespace {

#include "kernels/dense_panel/columns_body.h"
#include "kernels/simd/round_block_body.h"
#include "kernels/simd/transpose4_body.h"

constexpr int kRotatedRegisters = kRotated / 4;

MBOK_INLINE void transpose_squares(float32x4_t (&r)[kRotatedRegisters]) {
  MBOK_UNROLL
  for (int i = 0; i < kRotatedRegisters; i += 4) {
    float32x4_t square[4] = {r[i], r[i + 1], r[i + 2], r[i + 3]};
    transpose_four(square);
    MBOK_UNROLL
    for (int j = 0; j < 4; ++j) r[i + j] = square[j];
  }
}

// Hadamard butterflies between registers 1, 2, … apart.
template <int kEnd>
MBOK_INLINE void rotate_registers(float32x4_t (&r)[kRotatedRegisters]) {
  MBOK_UNROLL
  for (int apart = 1; apart < kEnd; apart *= 2) {
    MBOK_UNROLL
    for (int i = 0; i < kRotatedRegisters; ++i) {
      if (i & apart) continue;
      const float32x4_t a = r[i], b = r[i + apart];
      r[i] = vaddq_f32(a, b);
      r[i + apart] = vsubq_f32(a, b);
    }
  }
}

// The rotation of dense_product.h. Numbers 1 and 2 apart share a register, so squares are transposed for them and back.
MBOK_INLINE void rotate(float* values) {
  float32x4_t r[kRotatedRegisters];
  MBOK_UNROLL
  for (int i = 0; i < kRotatedRegisters; ++i) r[i] = vld1q_f32(values + 4 * i);
  transpose_squares(r);
  rotate_registers<4>(r);
  transpose_squares(r);
  rotate_registers<kRotatedRegisters>(r);
  MBOK_UNROLL
  for (int i = 0; i < kRotatedRegisters; ++i) vst1q_f32(values + 4 * i, r[i]);
}

}  // namespace

void dense_panel_rows_f32(const PanelSource& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t item = 0; item < s.width; item += 4)
    for (int64_t d = 0; d < s.depth; d += 4) {
      const int64_t left = s.depth - d < 4 ? s.depth - d : 4;
      if (left == 4 && item + 4 <= s.items) {
        transpose4(s.source + item * s.stride + d, s.stride, out + d * s.width + item, s.width);
        continue;
      }
      float32x4_t block[4];
      MBOK_UNROLL
      for (int i = 0; i < 4; ++i)
        block[i] = item + i < s.items ? load_four(s.source + (item + i) * s.stride + d, left) : vdupq_n_f32(0);
      transpose_four(block);
      MBOK_UNROLL
      for (int i = 0; i < 4; ++i)
        if (i < left) vst1q_f32(out + (d + i) * s.width + item, block[i]);
    }
}

void dense_panel_columns_f32(const PanelSource& s, void* panel) { copy_columns(s, static_cast<float*>(panel)); }

void int8_row(const float* x, int64_t cols, void* y) {
  constexpr int64_t kNumbers = 4 * kInt8Steps;
  constexpr float kLargest = 127;
  int8_t* block = static_cast<int8_t*>(y);
  for (int64_t first = 0; first < cols; first += kNumbers, block += 4 * kInt8RowSteps) {
    float values[kNumbers];
    for (int64_t j = 0; j < kNumbers; j += kLanes) {
      const int64_t left = cols - first - j;
      store(values + j, left > 0 ? load_n(x + first + j, left < kLanes ? left : kLanes) : zero());
    }
    for (int64_t j = 0; j < kNumbers; j += kRotated) rotate(values + j);
    Vec r[kNumbers / kLanes];
    MBOK_UNROLL
    for (int i = 0; i < kNumbers / kLanes; ++i) r[i] = load(values + kLanes * i);
    const BlockScale scale = block_scale(r, kLargest);
    int32x4_t sum = vdupq_n_s32(0);
    for (int64_t j = 0; j < kNumbers; j += kLanes) {
      const Vec number = rounded(load(values + j), scale, kLargest);
      const int16x8_t whole = vmovn_high_s32(vmovn_s32(vcvtnq_s32_f32(number.low)), vcvtnq_s32_f32(number.high));
      sum = vpadalq_s16(sum, whole);
      vst1_s8(block + j, vmovn_s16(whole));
    }
    const float product_scale = scale.scale / kRotated;
    const int32_t start = -128 * vaddvq_s32(sum);
    __builtin_memcpy(block + kNumbers, &product_scale, sizeof product_scale);
    __builtin_memcpy(block + kNumbers + 4, &start, sizeof start);
  }
}

}  // namespace mbok::neon
#endif
