// The 8-bit panel in terms of Vec. Included into an anonymous namespace inside mbok::<isa>, after body.h. The including
// file defines before:
//
//   kNear          numbers of the depth rotated in registers: first kNear neighbors, then numbers kNear apart
//   pack_bytes()   packs four neighbors of the depth in 0 … 255 into 32-bit lanes, the earliest lowest

constexpr float kLeastBound = 1e-36f;  // 127 / kLeastBound is finite

// Returns vector v of rebuild(s, d).
MBOK_INLINE Vec rebuild_vector(const BooleanPanel& s, int64_t d, int v) {
  Vec sum = zero();
  for (int64_t k = 0; k < s.kernels; ++k) {
    const uint64_t negative = ~s.signs[k * s.kernel_stride + d * s.depth_stride];
    const Vec magnitude = load(s.across + k * kPanelCols + kLanes * v);
    sum = fma(broadcast(s.along[k * s.along_stride + d]), flipped_by(magnitude, negative >> kLanes * v), sum);
  }
  return sum;
}

// Hadamard butterflies between vectors 1, 2, … apart.
template <int Count>
MBOK_INLINE void rotate_vectors(Vec (&r)[Count]) {
  MBOK_UNROLL
  for (int apart = 1; apart < Count; apart *= 2) {
    MBOK_UNROLL
    for (int i = 0; i < Count; ++i) {
      if (i & apart) continue;
      const Vec a = r[i], b = r[i + apart];
      r[i] = a + b;
      r[i + apart] = a - b;
    }
  }
}

// Rotates the weights of a vector of columns at depths 64·group … and stores them into the panel as floats. Returns the
// maximum of `largest` and their magnitudes.
MBOK_INLINE Vec rotated_group(const BooleanPanel& s, int64_t group, int v, float* panel, Vec largest) {
  constexpr int kFar = kRotated / kNear;
  float* const out = panel + group * kRotated * kPanelCols + kLanes * v;
  for (int64_t i = 0; i < kFar; ++i) {
    Vec r[kNear];
    MBOK_UNROLL
    for (int l = 0; l < kNear; ++l) {
      const int64_t d = group * kRotated + kNear * i + l;
      r[l] = d < s.depth ? rebuild_vector(s, d, v) : zero();
    }
    rotate_vectors(r);
    MBOK_UNROLL
    for (int l = 0; l < kNear; ++l) store(out + (kNear * i + l) * kPanelCols, r[l]);
  }
  for (int64_t l = 0; l < kNear; ++l) {
    Vec r[kFar];
    MBOK_UNROLL
    for (int i = 0; i < kFar; ++i) r[i] = load(out + (kNear * i + l) * kPanelCols);
    rotate_vectors(r);
    MBOK_UNROLL
    for (int i = 0; i < kFar; ++i) {
      largest = max(largest, abs(r[i]));
      store(out + (kNear * i + l) * kPanelCols, r[i]);
    }
  }
  return largest;
}

MBOK_INLINE void rebuild_int8(const BooleanPanel& s, float* out) {
  const int64_t groups = (s.depth + kRotated - 1) / kRotated;
  Vec inverse[kStepVectors], scale[kStepVectors];
  for (int v = 0; v < kStepVectors; ++v) {
    Vec largest = zero();
    for (int64_t group = 0; group < groups; ++group) largest = rotated_group(s, group, v, out, largest);
    inverse[v] = select(largest > broadcast(kLeastBound), broadcast(127) / largest, zero());
    scale[v] = largest / broadcast(127);
  }
  // In place: every write lies before what is still to be read.
  for (int64_t step = 0; step < groups * kRotated / 4; ++step) {
    MBOK_UNROLL
    for (int v = 0; v < kStepVectors; ++v) {
      Vec numbers[4];
      MBOK_UNROLL
      for (int i = 0; i < 4; ++i) {
        const Vec weights = load(out + (4 * step + i) * kPanelCols + kLanes * v);
        numbers[i] = min(broadcast(255), fma(weights, inverse[v], broadcast(128)));
      }
      store(out + step * kPanelCols + kLanes * v, pack_bytes(numbers));
    }
  }
  MBOK_UNROLL
  for (int v = 0; v < kStepVectors; ++v) store(out + kInt8Steps * kPanelCols + kLanes * v, scale[v]);
}
