// Written once for every Vec; kRows rows of four sums each fit the registers. Included into an anonymous namespace inside
// mbok::<isa>.

constexpr int kChunks = 4;

constexpr int64_t kLine = 64;

// Adds `Chunks` vectors of one output's weights, each times those of the rows' inputs, to as many sums a row.
template <class Source, int Rows, int Chunks>
MBOK_INLINE void add_chunks(const DenseDecode& p, const typename Source::Element* w, const float* x,
                            Vec (&sum)[Rows][kChunks]) {
  MBOK_UNROLL
  for (int c = 0; c < Chunks; ++c) {
    const Vec weights = Source::load(w + c * kLanes);
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) sum[r][c] = fma(load(x + r * p.depth + c * kLanes), weights, sum[r][c]);
  }
}

// Output i of the rows first … first + Rows − 1.
template <class Source, int Rows>
MBOK_INLINE void decode_output(const DenseDecode& p, int64_t i, int64_t first) {
  using Element = typename Source::Element;
  constexpr int64_t kStep = kChunks * kLanes, kStepBytes = kStep * static_cast<int64_t>(sizeof(Element));
  const auto* w = static_cast<const Element*>(p.w) + i * p.depth;
  const float* x = p.x + first * p.depth;
  Vec sum[Rows][kChunks];
  MBOK_UNROLL
  for (int r = 0; r < Rows; ++r) {
    MBOK_UNROLL
    for (int c = 0; c < kChunks; ++c) sum[r][c] = zero();
  }
  int64_t d = 0;
  for (; d + kStep <= p.depth; d += kStep) {
    MBOK_UNROLL
    for (int64_t line = 0; line < kStepBytes; line += kLine)
      __builtin_prefetch(reinterpret_cast<const char*>(w + d) + p.ahead + line);
    add_chunks<Source, Rows, kChunks>(p, w + d, x + d, sum);
  }
  for (; d + kLanes <= p.depth; d += kLanes) add_chunks<Source, Rows, 1>(p, w + d, x + d, sum);
  if (const int64_t left = p.depth - d; left > 0) {
    const Vec weights = Source::load_n(w + d, left);
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) sum[r][0] = fma(load_n(x + r * p.depth + d, left), weights, sum[r][0]);
  }
  const float start = p.bias != nullptr ? p.bias[i] : 0.0f;
  MBOK_UNROLL
  for (int r = 0; r < Rows; ++r) {
    const float total = reduce_add((sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]));
    p.y[(first + r) * p.y_stride + i] = start + (p.scales != nullptr ? p.scales[i] * total : total);
  }
}

template <class Source>
MBOK_INLINE void decode(const DenseDecode& p) {
  for (int64_t i = 0; i < p.outputs; ++i) {
    int64_t r = 0;
    for (; r + kRows <= p.rows; r += kRows) decode_output<Source, kRows>(p, i, r);
    for (; r < p.rows; ++r) decode_output<Source, 1>(p, i, r);
  }
}
