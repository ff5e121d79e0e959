#include "kernels/boolean_panel/candidates.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX512
namespace mbok::avx512 {
namespace {

#include "kernels/boolean_panel/body.h"

// One round of the transpose between registers: rows kRegisters · 8 apart exchange bits.
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

// One round within registers, lanes kApart apart. A lane keeps the bits of `keep` and takes the others from its
// partner, rotated into position.
template <int kApart>
MBOK_INLINE void swap_lanes(__m512i r[8], uint64_t mask) {
  const __m512i partner = _mm512_xor_si512(_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), _mm512_set1_epi64(kApart));
  constexpr __mmask8 kHigh = kApart == 4 ? 0xf0 : kApart == 2 ? 0xcc : 0xaa;
  const __m512i rotation = _mm512_mask_set1_epi64(_mm512_set1_epi64(kApart), kHigh, 64 - kApart);
  const __m512i keep =
      _mm512_mask_set1_epi64(_mm512_set1_epi64(static_cast<long long>(mask)), kHigh, static_cast<long long>(~mask));
  MBOK_UNROLL
  for (int i = 0; i < 8; ++i) {
    const __m512i moved = _mm512_rolv_epi64(_mm512_permutexvar_epi64(partner, r[i]), rotation);
    r[i] = _mm512_ternarylogic_epi64(keep, r[i], moved, 0xca);  // keep ? r[i] : moved
  }
}

constexpr int kNear = 16;

MBOK_INLINE Vec pack_bytes(const Vec (&numbers)[4]) {
  __m512i four = _mm512_setzero_si512();
  MBOK_UNROLL
  for (int i = 3; i >= 0; --i) four = _mm512_or_si512(_mm512_slli_epi32(four, 8), _mm512_cvtps_epi32(numbers[i].v));
  return {_mm512_castsi512_ps(four)};
}

#include "kernels/boolean_panel/int8_body.h"

}  // namespace

void boolean_panel_f32(const BooleanPanel& s, void* panel) { rebuild_panel(s, static_cast<float*>(panel)); }

void boolean_panel_i8(const BooleanPanel& s, void* panel) { rebuild_int8(s, static_cast<float*>(panel)); }

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
