// to[c][r] = from[r][c] of 4 × 4 floats, for every ISA. Included inside namespaces mbok::<isa>.
MBOK_INLINE void transpose4(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
#if defined(MBOK_X86)
  __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_stride);
  __m128 c = _mm_loadu_ps(from + 2 * from_stride), d = _mm_loadu_ps(from + 3 * from_stride);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(to, a);
  _mm_storeu_ps(to + to_stride, b);
  _mm_storeu_ps(to + 2 * to_stride, c);
  _mm_storeu_ps(to + 3 * to_stride, d);
#else
  float32x4_t r[4];
  MBOK_UNROLL
  for (int i = 0; i < 4; ++i) r[i] = vld1q_f32(from + i * from_stride);
  transpose_four(r);
  MBOK_UNROLL
  for (int i = 0; i < 4; ++i) vst1q_f32(to + i * to_stride, r[i]);
#endif
}
