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

// Outputs i, i + apart, … (as many as Outputs says) of the rows first … first + Rows − 1.
template <class Source, int Rows, int Outputs>
MBOK_INLINE void decode_outputs(const DenseDecode& p, int64_t i, int64_t apart, int64_t first) {
  using Element = typename Source::Element;
  constexpr int64_t kStep = kChunks * kLanes, kStepBytes = kStep * static_cast<int64_t>(sizeof(Element));
  const auto* w = static_cast<const Element*>(p.w) + i * p.depth;
  const int64_t stride = apart * p.depth;
  const float* x = p.x + first * p.depth;
  Vec sum[Outputs][Rows][kChunks];
  MBOK_UNROLL
  for (int o = 0; o < Outputs; ++o) {
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) {
      MBOK_UNROLL
      for (int c = 0; c < kChunks; ++c) sum[o][r][c] = zero();
    }
  }
  int64_t d = 0;
  for (; d + kStep <= p.depth; d += kStep) {
    MBOK_UNROLL
    for (int o = 0; o < Outputs; ++o) {
      MBOK_UNROLL
      for (int64_t line = 0; line < kStepBytes; line += kLine)
        __builtin_prefetch(reinterpret_cast<const char*>(w + o * stride + d) + p.ahead + line);
      add_chunks<Source, Rows, kChunks>(p, w + o * stride + d, x + d, sum[o]);
    }
  }
  for (; d + kLanes <= p.depth; d += kLanes) {
    MBOK_UNROLL
    for (int o = 0; o < Outputs; ++o) add_chunks<Source, Rows, 1>(p, w + o * stride + d, x + d, sum[o]);
  }
  const int64_t left = p.depth - d;
  MBOK_UNROLL
  for (int o = 0; o < Outputs; ++o) {
    if (left > 0) {
      const Vec weights = Source::load_n(w + o * stride + d, left);
      MBOK_UNROLL
      for (int r = 0; r < Rows; ++r) sum[o][r][0] = fma(load_n(x + r * p.depth + d, left), weights, sum[o][r][0]);
    }
    const int64_t output = i + o * apart;
    const float start = p.bias != nullptr ? p.bias[output] : 0.0f;
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const float total = reduce_add((sum[o][r][0] + sum[o][r][1]) + (sum[o][r][2] + sum[o][r][3]));
      p.y[(first + r) * p.y_stride + output] = start + (p.scales != nullptr ? p.scales[output] * total : total);
    }
  }
}

template <class Source>
MBOK_INLINE void decode(const DenseDecode& p) {
  int64_t i = 0;
  if (p.halves && p.rows == 1) {
    const int64_t half = p.outputs / 2;
    for (; i < half; ++i) decode_outputs<Source, 1, 2>(p, i, half, 0);
    i = 2 * half;
  }
  for (; i < p.outputs; ++i) {
    int64_t r = 0;
    for (; r + kRows <= p.rows; r += kRows) decode_outputs<Source, kRows, 1>(p, i, 0, r);
    for (; r < p.rows; ++r) decode_outputs<Source, 1, 1>(p, i, 0, r);
  }
}
