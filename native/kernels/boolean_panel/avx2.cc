#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {
namespace {

// The sign bit in every lane whose bit of `byte` is 0.
MBOK_INLINE __m256 negative_lanes(uint64_t byte) {
  const __m256i lane_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i bits = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(byte & 0xff)), lane_bit);
  const __m256i clear = _mm256_cmpeq_epi32(bits, _mm256_setzero_si256());
  return _mm256_castsi256_ps(_mm256_slli_epi32(clear, 31));
}

MBOK_INLINE Vec rebuild_vector(const BooleanPanel& s, int64_t d, int v) {
  Vec sum = zero();
  for (int64_t k = 0; k < s.kernels; ++k) {
    const uint64_t word = s.signs[k * s.kernel_stride + d * s.depth_stride];
    const __m256 magnitude = load(s.across + k * kPanelCols + 8 * v).v;
    sum = fma(broadcast(s.along[k * s.along_stride + d]), {_mm256_xor_ps(magnitude, negative_lanes(word >> 8 * v))}, sum);
  }
  return sum;
}

MBOK_INLINE Vec join_bytes(const Vec (&numbers)[4]) {
  __m256i four = _mm256_setzero_si256();
  MBOK_UNROLL
  for (int i = 3; i >= 0; --i) four = _mm256_or_si256(_mm256_slli_epi32(four, 8), _mm256_cvtps_epi32(numbers[i].v));
  return {_mm256_castsi256_ps(four)};
}

#include "kernels/boolean_panel/int8_body.h"

}  // namespace

void boolean_panel_f32(const BooleanPanel& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t d = 0; d < s.depth; ++d, out += kPanelCols) {
    Vec sum[8];
    MBOK_UNROLL
    for (int v = 0; v < 8; ++v) sum[v] = zero();
    for (int64_t k = 0; k < s.kernels; ++k) {
      const uint64_t word = s.signs[k * s.kernel_stride + d * s.depth_stride];
      const Vec along = broadcast(s.along[k * s.along_stride + d]);
      const float* across = s.across + k * kPanelCols;
      MBOK_UNROLL
      for (int v = 0; v < 8; ++v)
        sum[v] = fma(along, {_mm256_xor_ps(load(across + 8 * v).v, negative_lanes(word >> 8 * v))}, sum[v]);
    }
    MBOK_UNROLL
    for (int v = 0; v < 8; ++v) store(out + 8 * v, sum[v]);
  }
}

void boolean_panel_i8(const BooleanPanel& s, void* panel) { make_int8_panel(s, static_cast<float*>(panel)); }

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
