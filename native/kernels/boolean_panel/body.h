// The rebuild in terms of Vec; kStepVectors of them form a step. Included into an anonymous namespace inside
// mbok::<isa>.

constexpr int kStepVectors = kPanelCols / kLanes;

struct Weights {
  Vec v[kStepVectors];
};

MBOK_INLINE Weights rebuild(const BooleanPanel& s, int64_t d) {
  Weights sum;
  MBOK_UNROLL
  for (int v = 0; v < kStepVectors; ++v) sum.v[v] = zero();
  for (int64_t k = 0; k < s.kernels; ++k) {
    const uint64_t negative = ~s.signs[k * s.kernel_stride + d * s.depth_stride];
    const Vec along = broadcast(s.along[k * s.along_stride + d]);
    const float* across = s.across + k * kPanelCols;
    MBOK_UNROLL
    for (int v = 0; v < kStepVectors; ++v)
      sum.v[v] = fma(along, flipped_by(load(across + kLanes * v), negative >> kLanes * v), sum.v[v]);
  }
  return sum;
}

MBOK_INLINE void rebuild_panel(const BooleanPanel& s, float* out) {
  for (int64_t d = 0; d < s.depth; ++d, out += kPanelCols) {
    const Weights weights = rebuild(s, d);
    MBOK_UNROLL
    for (int v = 0; v < kStepVectors; ++v) store(out + kLanes * v, weights.v[v]);
  }
}
