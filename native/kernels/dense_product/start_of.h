// Included into an anonymous namespace inside mbok::<isa>.

// What a product is added to: what C holds there, or the bias of its columns.
MBOK_INLINE Vec start_of(const ProductBlock& p, const float* c, int64_t col, int64_t lanes) {
  if (p.accumulate) return load_n(c, lanes);
  return p.bias != nullptr ? load_n(p.bias + col, lanes) : zero();
}
