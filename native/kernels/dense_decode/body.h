// The decode kernel over Vec. The registers hold four sums for each of kRows rows. Included into an anonymous namespace
// inside mbok::<isa>.

constexpr int kChunks = 4;

constexpr int64_t kLine = 64;

// The weights of one output in the order of the depth.
template <class Source>
class PlainWeights {
 public:
  using Element = typename Source::Element;
  MBOK_INLINE void start(const DenseDecode& p, int64_t output) {
    numbers_ = static_cast<const Element*>(p.w) + output * p.depth;
  }
  MBOK_INLINE void prepare(int64_t) {}
  MBOK_INLINE const Element* numbers() const { return numbers_; }
  MBOK_INLINE Vec load(int64_t d) const { return Source::load(numbers_ + d); }
  MBOK_INLINE Vec load_n(int64_t d, int64_t n) const { return Source::load_n(numbers_ + d, n); }

 private:
  const Element* numbers_;
};

class Q8Output : public Q8Weights {
 public:
  MBOK_INLINE void start(const DenseDecode& p, int64_t output) {
    const int64_t bytes = row_bytes(TensorType::kQ8, p.depth);
    const Q8Row row = q8_row(static_cast<const int8_t*>(p.w) + output * bytes, p.depth);
    Q8Weights::start(row.scales, row.numbers, p.depth / kQ8Block, p.ahead);
  }
};

// Multiplies `Chunks` vectors of one output's weights by the rows' inputs and adds them to as many sums per row.
template <class Weights, int Rows, int Chunks>
MBOK_INLINE void add_chunks(const DenseDecode& p, const Weights& w, int64_t d, const float* x,
                            Vec (&sum)[Rows][kChunks]) {
  MBOK_UNROLL
  for (int c = 0; c < Chunks; ++c) {
    const Vec weights = w.load(d + c * kLanes);
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) sum[r][c] = fma(load(x + r * p.depth + d + c * kLanes), weights, sum[r][c]);
  }
}

// Computes outputs i, i + apart, … (Outputs of them) for rows first … first + Rows − 1.
template <class Weights, int Rows, int Outputs>
MBOK_INLINE void decode_outputs(const DenseDecode& p, int64_t i, int64_t apart, int64_t first) {
  constexpr int64_t kStep = kChunks * kLanes;
  const float* x = p.x + first * p.depth;
  Weights w[Outputs];
  Vec sum[Outputs][Rows][kChunks];
  MBOK_UNROLL
  for (int o = 0; o < Outputs; ++o) {
    w[o].start(p, i + o * apart);
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
      const auto* next = w[o].numbers() + d;
      constexpr auto kStepBytes = kStep * static_cast<int64_t>(sizeof *next);
      MBOK_UNROLL
      for (int64_t line = 0; line < kStepBytes; line += kLine)
        __builtin_prefetch(reinterpret_cast<const char*>(next) + p.ahead + line);
      w[o].prepare(d);
      add_chunks<Weights, Rows, kChunks>(p, w[o], d, x, sum[o]);
    }
  }
  for (; d + kLanes <= p.depth; d += kLanes) {
    MBOK_UNROLL
    for (int o = 0; o < Outputs; ++o) {
      w[o].prepare(d);
      add_chunks<Weights, Rows, 1>(p, w[o], d, x, sum[o]);
    }
  }
  const int64_t left = p.depth - d;
  MBOK_UNROLL
  for (int o = 0; o < Outputs; ++o) {
    if (left > 0) {
      const Vec weights = w[o].load_n(d, left);
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

template <class Weights>
MBOK_INLINE void decode(const DenseDecode& p) {
  int64_t i = 0;
  if (p.halves && p.rows == 1) {
    const int64_t half = p.outputs / 2;
    for (; i < half; ++i) decode_outputs<Weights, 1, 2>(p, i, half, 0);
    i = 2 * half;
  }
  for (; i < p.outputs; ++i) {
    int64_t r = 0;
    for (; r + kRows <= p.rows; r += kRows) decode_outputs<Weights, kRows, 1>(p, i, 0, r);
    for (; r < p.rows; ++r) decode_outputs<Weights, 1, 1>(p, i, 0, r);
  }
}
