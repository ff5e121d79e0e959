// Included into an anonymous namespace inside mbok::<isa>.

// Returns what a product is added to: the value of C or the columns' bias.
MBOK_INLINE Vec start_of(const ProductBlock& p, const float* c, int64_t col, int64_t lanes) {
  if (p.accumulate) return load_n(c, lanes);
  return p.bias != nullptr ? load_n(p.bias + col, lanes) : zero();
}
