// Start and end of sums by vpdpbusd. Included into an anonymous namespace inside mbok::<isa>, after int8_sums.h,
// broadcast_step() and to_floats().

// Subtracts in advance what +128 in every byte of B adds.
MBOK_INLINE Sum first_sum(const float* a) { return broadcast_step(a + kInt8Steps + 1); }
MBOK_INLINE Vec add_sum(const ProductBlock& p, const float* a, int64_t col, Vec start, Sum sum) {
  return add_scaled(p, a, col, start, to_floats(sum));
}
