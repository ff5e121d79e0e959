// 64 rebuilt weights of one step of the depth, for both AVX-512 candidates. Included inside their regions.

struct Weights {
  Vec v[4];
};

MBOK_INLINE Weights rebuild(const BooleanPanel& s, int64_t d) {
  Weights sum = {{zero(), zero(), zero(), zero()}};
  const __m512 sign = _mm512_set1_ps(-0.0f);
  for (int64_t k = 0; k < s.kernels; ++k) {
    const uint64_t negative = ~s.signs[k * s.kernel_stride + d * s.depth_stride];
    const Vec along = broadcast(s.along[k * s.along_stride + d]);
    const float* across = s.across + k * kPanelCols;
    MBOK_UNROLL
    for (int v = 0; v < 4; ++v) {
      const __m512 magnitude = load(across + 16 * v).v;
      const __mmask16 lanes = static_cast<__mmask16>(negative >> 16 * v);
      sum.v[v] = fma(along, {_mm512_mask_xor_ps(magnitude, lanes, magnitude, sign)}, sum.v[v]);
    }
  }
  return sum;
}
