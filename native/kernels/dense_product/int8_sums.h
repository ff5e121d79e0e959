// How sums of 8-bit numbers begin and become floats. Included before body.h, after broadcast_step() and to_floats().

// What 128 more in every number of B adds is taken off beforehand.
MBOK_INLINE Sum first_sum(const float* a) { return broadcast_step(a + kInt8Steps + 1); }
MBOK_INLINE Vec add_sum(const ProductBlock& p, const float* a, int64_t col, Vec start, Sum sum) {
  const Vec scales = load(static_cast<const float*>(p.b) + kInt8Steps * kPanelCols + col);
  return fma(to_floats(sum), broadcast(a[kInt8Steps]) * scales, start);
}
