#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/avx512.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

#include "kernels/boolean_panel/avx512_body.h"

// One round of the transpose between registers: rows that lie kRegisters · 8 apart exchange bits.
template <int kRegisters>
MBOK_INLINE void swap_registers(__m512i r[8], uint64_t mask) {
  constexpr int kShift = 8 * kRegisters;
  const __m512i lanes = _mm512_set1_epi64(static_cast<long long>(mask));
  MBOK_UNROLL
  for (int i = 0; i < 8; ++i) {
    if (i & kRegisters) continue;
    __m512i& low = r[i];
    __m512i& high = r[i + kRegisters];
    const __m512i swap = _mm512_and_si512(_mm512_xor_si512(_mm512_srli_epi64(low, kShift), high), lanes);
    low = _mm512_xor_si512(low, _mm512_slli_epi64(swap, kShift));
    high = _mm512_xor_si512(high, swap);
  }
}

// One round inside registers: lanes kApart apart. A lane keeps the bits of `keep` and takes the others from its
// partner, rotated to their place.
template <int kApart>
MBOK_INLINE void swap_lanes(__m512i r[8], uint64_t mask) {
  const __m512i partner = _mm512_xor_si512(_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), _mm512_set1_epi64(kApart));
  constexpr __mmask8 kHigh = kApart == 4 ? 0xf0 : kApart == 2 ? 0xcc : 0xaa;
  const __m512i rotation = _mm512_mask_set1_epi64(_mm512_set1_epi64(kApart), kHigh, 64 - kApart);
  const __m512i keep = _mm512_mask_set1_epi64(_mm512_set1_epi64(static_cast<long long>(mask)), kHigh,
                                              static_cast<long long>(~mask));
  MBOK_UNROLL
  for (int i = 0; i < 8; ++i) {
    const __m512i moved = _mm512_rolv_epi64(_mm512_permutexvar_epi64(partner, r[i]), rotation);
    r[i] = _mm512_ternarylogic_epi64(keep, r[i], moved, 0xca);  // keep ? own : moved
  }
}

constexpr float kLeastBound = 1e-36f;  // 127 / it is finite

// One vector of rebuild()'s.
MBOK_INLINE Vec rebuild_vector(const BooleanPanel& s, int64_t d, int v) {
  Vec sum = zero();
  const __m512 sign = _mm512_set1_ps(-0.0f);
  for (int64_t k = 0; k < s.kernels; ++k) {
    const uint64_t negative = ~s.signs[k * s.kernel_stride + d * s.depth_stride];
    const __m512 magnitude = load(s.across + k * kPanelCols + 16 * v).v;
    const __mmask16 lanes = static_cast<__mmask16>(negative >> 16 * v);
    sum = fma(broadcast(s.along[k * s.along_stride + d]), {_mm512_mask_xor_ps(magnitude, lanes, magnitude, sign)}, sum);
  }
  return sum;
}

// Sums and differences of vectors 1, 2, … apart.
template <int Count>
MBOK_INLINE void rotate_vectors(Vec (&r)[Count]) {
  MBOK_UNROLL
  for (int apart = 1; apart < Count; apart *= 2) {
    MBOK_UNROLL
    for (int i = 0; i < Count; ++i) {
      if (i & apart) continue;
      const Vec a = r[i], b = r[i + apart];
      r[i] = a + b;
      r[i + apart] = a - b;
    }
  }
}

// The weights of 16 columns at depth 64·group …, rotated, into the panel of floats; the larger of `largest` and theirs.
MBOK_INLINE Vec rotated_group(const BooleanPanel& s, int64_t group, int v, float* panel, Vec largest) {
  float* const out = panel + group * kRotated * kPanelCols + 16 * v;
  for (int64_t i = 0; i < 4; ++i) {
    Vec r[16];
    MBOK_UNROLL
    for (int l = 0; l < 16; ++l) {
      const int64_t d = group * kRotated + 16 * i + l;
      r[l] = d < s.depth ? rebuild_vector(s, d, v) : zero();
    }
    rotate_vectors(r);
    MBOK_UNROLL
    for (int l = 0; l < 16; ++l) store(out + (16 * i + l) * kPanelCols, r[l]);
  }
  for (int64_t l = 0; l < 16; ++l) {
    Vec r[4];
    MBOK_UNROLL
    for (int i = 0; i < 4; ++i) r[i] = load(out + (16 * i + l) * kPanelCols);
    rotate_vectors(r);
    MBOK_UNROLL
    for (int i = 0; i < 4; ++i) {
      largest = max(largest, abs(r[i]));
      store(out + (16 * i + l) * kPanelCols, r[i]);
    }
  }
  return largest;
}

}  // namespace

void boolean_panel_f32(const BooleanPanel& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t d = 0; d < s.depth; ++d, out += kPanelCols) {
    const Weights weights = rebuild(s, d);
    MBOK_UNROLL
    for (int v = 0; v < 4; ++v) store(out + 16 * v, weights.v[v]);
  }
}

void boolean_panel_i8(const BooleanPanel& s, void* panel) {
  float* const out = static_cast<float*>(panel);
  const int64_t groups = (s.depth + kRotated - 1) / kRotated;
  Vec inverse[4], scale[4];
  for (int v = 0; v < 4; ++v) {
    Vec largest = zero();
    for (int64_t group = 0; group < groups; ++group) largest = rotated_group(s, group, v, out, largest);
    inverse[v] = select(largest > broadcast(kLeastBound), broadcast(127) / largest, zero());
    scale[v] = largest / broadcast(127);
  }
  // in place: what is written lies before what is still to be read
  for (int64_t step = 0; step < groups * kRotated / 4; ++step) {
    MBOK_UNROLL
    for (int v = 0; v < 4; ++v) {
      __m512i four = _mm512_setzero_si512();
      MBOK_UNROLL
      for (int i = 3; i >= 0; --i) {
        const Vec weights = load(out + (4 * step + i) * kPanelCols + 16 * v);
        const Vec number = min(broadcast(255), fma(weights, inverse[v], broadcast(128)));
        four = _mm512_or_si512(_mm512_slli_epi32(four, 8), _mm512_cvtps_epi32(number.v));
      }
      store(out + step * kPanelCols + 16 * v, {_mm512_castsi512_ps(four)});
    }
  }
  MBOK_UNROLL
  for (int v = 0; v < 4; ++v) store(out + kInt8Steps * kPanelCols + 16 * v, scale[v]);
}

void bit_transpose(const uint64_t* rows, int64_t stride, int64_t count, uint64_t* out) {
  alignas(64) uint64_t block[64];
  for (int64_t i = 0; i < 64; ++i) block[i] = i < count ? rows[i * stride] : 0;
  __m512i r[8];
  MBOK_UNROLL
  for (int i = 0; i < 8; ++i) r[i] = _mm512_load_si512(block + 8 * i);
  swap_registers<4>(r, 0x00000000ffffffff);
  swap_registers<2>(r, 0x0000ffff0000ffff);
  swap_registers<1>(r, 0x00ff00ff00ff00ff);
  swap_lanes<4>(r, 0x0f0f0f0f0f0f0f0f);
  swap_lanes<2>(r, 0x3333333333333333);
  swap_lanes<1>(r, 0x5555555555555555);
  MBOK_UNROLL
  for (int i = 0; i < 8; ++i) _mm512_storeu_si512(out + 8 * i, r[i]);
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
