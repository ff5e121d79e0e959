// Transposes 16 × 16 32-bit lanes by 64 shuffles. Included inside an AVX-512 region.

MBOK_INLINE void transpose16(__m512 r[16]) {
  __m512 t[16];
  MBOK_UNROLL
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  MBOK_UNROLL
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    r[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  // r[4g + c] now holds, in quarter q, rows 4g … 4g + 3 of column 4q + c: transpose the quarters
  MBOK_UNROLL
  for (int c = 0; c < 4; ++c) {
    const __m512 low = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88), high = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xdd);
    const __m512 low2 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88);
    const __m512 high2 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xdd);
    t[c] = _mm512_shuffle_f32x4(low, low2, 0x88);
    t[4 + c] = _mm512_shuffle_f32x4(high, high2, 0x88);
    t[8 + c] = _mm512_shuffle_f32x4(low, low2, 0xdd);
    t[12 + c] = _mm512_shuffle_f32x4(high, high2, 0xdd);
  }
  MBOK_UNROLL
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}
