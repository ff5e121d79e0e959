// round_block.h over Vec. Included into an anonymous namespace inside mbok::<isa>.

constexpr float kLeastScale = 1.17549435e-38f;  // the least normal number: 1 / scale is finite

struct BlockScale {
  float scale;
  Vec inverse;
  bool finite;
};

template <int Count>
MBOK_INLINE BlockScale block_scale(const Vec (&values)[Count], float most) {
  Vec largest = zero();
  Mask finite = first_lanes(kLanes);
  MBOK_UNROLL
  for (int i = 0; i < Count; ++i) {
    finite = finite & (abs(values[i]) <= broadcast(3.402823466e38f));
    largest = max(abs(values[i]), largest);
  }
  const bool usable = all(finite);
  const float scale = usable ? reduce_max(largest) / most : __builtin_nanf("");
  return {scale, broadcast(usable && scale >= kLeastScale ? 1 / scale : 0), usable};
}

MBOK_INLINE Vec rounded(Vec value, const BlockScale& block, float most) {
  if (!block.finite) return zero();
  // 1 / scale may be rounded upwards
  return max(broadcast(-most), min(broadcast(most), round_even(value * block.inverse)));
}
