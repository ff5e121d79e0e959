// The panel in f32 in terms of Vec, eight of which are a step; included by avx2.cc and neon.cc inside their namespaces.

void boolean_panel_f32(const BooleanPanel& s, void* panel) {
  float* out = static_cast<float*>(panel);
  for (int64_t d = 0; d < s.depth; ++d, out += kPanelCols) {
    Vec sum[kPanelCols / kLanes];
    MBOK_UNROLL
    for (int v = 0; v < kPanelCols / kLanes; ++v) sum[v] = zero();
    for (int64_t k = 0; k < s.kernels; ++k) {
      const uint64_t word = s.signs[k * s.kernel_stride + d * s.depth_stride];
      const Vec along = broadcast(s.along[k * s.along_stride + d]);
      const float* across = s.across + k * kPanelCols;
      MBOK_UNROLL
      for (int v = 0; v < kPanelCols / kLanes; ++v)
        sum[v] = fma(along, signed_by(load(across + kLanes * v), word >> kLanes * v), sum[v]);
    }
    MBOK_UNROLL
    for (int v = 0; v < kPanelCols / kLanes; ++v) store(out + kLanes * v, sum[v]);
  }
}
