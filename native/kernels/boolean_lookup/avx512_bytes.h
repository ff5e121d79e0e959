// Byte operations of boolean_lookup's body for AVX-512, except the look-up itself. Included into an anonymous namespace
// inside mbok::avx512.

constexpr int64_t kBytes = 64;

struct Bytes {
  __m512i v;
};

MBOK_INLINE Bytes load_bytes(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
MBOK_INLINE Bytes load_table(const uint8_t* p) {
  return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
MBOK_INLINE Bytes add8(Bytes a, Bytes b) { return {_mm512_add_epi8(a.v, b.v)}; }
MBOK_INLINE Bytes all16(int16_t a) { return {_mm512_set1_epi16(a)}; }
// sum + low + high · 2^kLowBits in 16 bits; `pairs` interleaves low and high parts.
MBOK_INLINE Bytes add_pairs(Bytes sum, __m512i pairs) {
  const __m512i factors = all16(1 << kLowBits << 8 | 1).v;
  return {_mm512_add_epi16(sum.v, _mm512_maddubs_epi16(pairs, factors))};
}
MBOK_INLINE Bytes add_even(Bytes sum, Bytes low, Bytes high) {
  return add_pairs(sum, _mm512_unpacklo_epi8(low.v, high.v));
}
MBOK_INLINE Bytes add_odd(Bytes sum, Bytes low, Bytes high) {
  return add_pairs(sum, _mm512_unpackhi_epi8(low.v, high.v));
}

// sums[i] += scale · a[i] for the 32 integers of a.
MBOK_INLINE void add_scaled(Bytes a, float scale, float* sums) {
  const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm512_castsi512_si256(a.v)));
  const __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(a.v, 1)));
  const __m512 factor = _mm512_set1_ps(scale);
  _mm512_storeu_ps(sums, _mm512_fmadd_ps(factor, low, _mm512_loadu_ps(sums)));
  _mm512_storeu_ps(sums + 16, _mm512_fmadd_ps(factor, high, _mm512_loadu_ps(sums + 16)));
}

// y[i] += a[i] · b[i], i < 8.
MBOK_INLINE void multiply_add8(const float* a, const float* b, float* y) {
  _mm256_storeu_ps(y, _mm256_fmadd_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b), _mm256_loadu_ps(y)));
}
