// For the products in 8 bits. Included into an anonymous namespace inside mbok::<isa>.

// start plus sums of columns col … of a row of A, times both scales.
MBOK_INLINE Vec add_scaled(const ProductBlock& p, const float* a, int64_t col, Vec start, Vec sums) {
  const Vec scales = load(static_cast<const float*>(p.b) + kInt8Steps * kPanelCols + col);
  return fma(sums, broadcast(a[kInt8Steps]) * scales, start);
}
