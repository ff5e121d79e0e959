// The decode kernel over Vec. Included into an anonymous namespace inside mbok::<isa>, after kSums (accumulators that
// fit the registers), load_signs(word, v) (the bits of vector v of a word) and flip(x, signs) (flips x where a bit is
// set).

// y = bias + the sum of the lanes of `sum`.
template <int Rows, int Outputs>
MBOK_INLINE void store_outputs(const BooleanDecode& p, int64_t first, const Vec (&sum)[Rows][Outputs]) {
  MBOK_UNROLL
  for (int i = 0; i < Outputs; ++i) {
    const float start = p.bias != nullptr ? p.bias[first + i] : 0.0f;
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) p.y[r * p.y_stride + first + i] = start + reduce_add(sum[r][i]);
  }
}

template <int Rows, int Outputs>
MBOK_INLINE void decode_outputs(const BooleanDecode& p, int64_t first) {
  const int64_t padded = 64 * p.words;
  Vec total[Rows][Outputs];
  MBOK_UNROLL
  for (int r = 0; r < Rows; ++r) {
    MBOK_UNROLL
    for (int i = 0; i < Outputs; ++i) total[r][i] = zero();
  }
  for (int64_t k = 0; k < p.kernels; ++k) {
    const uint64_t* bits = p.bits + k * p.kernel_stride + first * p.words;
    const float* scaled = p.scaled + k * padded;
    const int64_t row_stride = p.kernels * padded;
    Vec sum[Rows][Outputs];
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) {
      MBOK_UNROLL
      for (int i = 0; i < Outputs; ++i) sum[r][i] = zero();
    }
    for (int64_t word = 0; word < p.words; ++word) {
      MBOK_UNROLL
      for (int v = 0; v < 64 / kLanes; ++v) {
        Vec x[Rows];
        MBOK_UNROLL
        for (int r = 0; r < Rows; ++r) x[r] = load(scaled + r * row_stride + 64 * word + v * kLanes);
        MBOK_UNROLL
        for (int i = 0; i < Outputs; ++i) {
          const Signs signs = load_signs(bits + i * p.words + word, v);
          MBOK_UNROLL
          for (int r = 0; r < Rows; ++r) sum[r][i] = sum[r][i] + flip(x[r], signs);
        }
      }
    }
    MBOK_UNROLL
    for (int i = 0; i < Outputs; ++i) {
      const Vec scale = broadcast(p.s_out[k * p.s_out_stride + first + i]);
      MBOK_UNROLL
      for (int r = 0; r < Rows; ++r) total[r][i] = fma(scale, sum[r][i], total[r][i]);
    }
  }
  store_outputs(p, first, total);
}

MBOK_INLINE void scale_inputs(const float* x, const float* s_in, int64_t n, float* scaled) {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) store(scaled + j, -load(x + j) * load(s_in + j));
  if (j < n) {
    store(scaled + j, -load_n(x + j, n - j) * load_n(s_in + j, n - j));
    j += kLanes;
  }
  for (; j % 64 != 0; j += kLanes) store(scaled + j, zero());
}

template <int Rows>
void decode_rows(const BooleanDecode& p) {
  constexpr int kOutputs = kSums / Rows < 8 ? kSums / Rows : 8;
  int64_t i = 0;
  for (; i + kOutputs <= p.outputs; i += kOutputs) decode_outputs<Rows, kOutputs>(p, i);
  for (; i < p.outputs; ++i) decode_outputs<Rows, 1>(p, i);
}

MBOK_INLINE void decode(const BooleanDecode& p) {
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
