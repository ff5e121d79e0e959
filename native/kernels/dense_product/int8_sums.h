// For the 8-bit products. Included into an anonymous namespace inside mbok::<isa>.

// Returns start + sums · both scales, for columns col … of a row of A.
MBOK_INLINE Vec add_scaled(const ProductBlock& p, const float* a, int64_t col, Vec start, Vec sums) {
  const Vec scales = load(static_cast<const float*>(p.b) + kInt8Steps * kPanelCols + col);
  return fma(sums, broadcast(a[kInt8Steps]) * scales, start);
}
