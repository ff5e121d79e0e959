// Written once for every Vec; kSums is how many of them fit the registers. Included into an anonymous namespace inside
// mbok::<isa>.

template <int Rows, int Outputs>
MBOK_INLINE void decode_outputs(const DenseDecode& p, int64_t first) {
  Vec sum[Rows][Outputs];
  MBOK_UNROLL
  for (int r = 0; r < Rows; ++r) {
    MBOK_UNROLL
    for (int i = 0; i < Outputs; ++i) sum[r][i] = zero();
  }
  const float* w = p.w + first * p.depth;
  int64_t d = 0;
  for (; d + kLanes <= p.depth; d += kLanes) {
    Vec x[Rows];
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) x[r] = load(p.x + r * p.depth + d);
    MBOK_UNROLL
    for (int i = 0; i < Outputs; ++i) {
      const Vec weights = load(w + i * p.depth + d);
      MBOK_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r][i] = fma(x[r], weights, sum[r][i]);
    }
  }
  if (d < p.depth) {
    const int64_t left = p.depth - d;
    MBOK_UNROLL
    for (int i = 0; i < Outputs; ++i) {
      const Vec weights = load_n(w + i * p.depth + d, left);
      MBOK_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r][i] = fma(load_n(p.x + r * p.depth + d, left), weights, sum[r][i]);
    }
  }
  MBOK_UNROLL
  for (int i = 0; i < Outputs; ++i) {
    const float start = p.bias != nullptr ? p.bias[first + i] : 0.0f;
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) p.y[r * p.y_stride + first + i] = start + reduce_add(sum[r][i]);
  }
}

template <int Rows>
void decode_rows(const DenseDecode& p) {
  constexpr int kOutputs = kSums / Rows < 8 ? kSums / Rows : 8;
  int64_t i = 0;
  for (; i + kOutputs <= p.outputs; i += kOutputs) decode_outputs<Rows, kOutputs>(p, i);
  for (; i < p.outputs; ++i) decode_outputs<Rows, 1>(p, i);
}

MBOK_INLINE void decode(const DenseDecode& p) {
  switch (p.rows) {
    case 1:
      return decode_rows<1>(p);
    case 2:
      return decode_rows<2>(p);
    case 3:
      return decode_rows<3>(p);
    case 4:
      return decode_rows<4>(p);
    case 5:
      return decode_rows<5>(p);
    case 6:
      return decode_rows<6>(p);
    case 7:
      return decode_rows<7>(p);
    case 8:
      return decode_rows<8>(p);
    default:
      return;
  }
}
