// What the kernels that stream weights for one to eight rows share (dense_decode, boolean_decode). Included into an
// anonymous namespace inside mbok::<isa>, where kSums says how many sums fit the registers.

// What the kernel adds: computes the outputs first … first + Outputs − 1 of all rows.
template <int Rows, int Outputs, class Problem>
MBOK_INLINE void decode_outputs(const Problem& p, int64_t first);

// y = bias + the lanes' total.
template <int Rows, int Outputs, class Problem>
MBOK_INLINE void store_outputs(const Problem& p, int64_t first, const Vec (&sum)[Rows][Outputs]) {
  MBOK_UNROLL
  for (int i = 0; i < Outputs; ++i) {
    const float start = p.bias != nullptr ? p.bias[first + i] : 0.0f;
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) p.y[r * p.y_stride + first + i] = start + reduce_add(sum[r][i]);
  }
}

template <int Rows, class Problem>
void decode_rows(const Problem& p) {
  constexpr int kOutputs = kSums / Rows < 8 ? kSums / Rows : 8;
  int64_t i = 0;
  for (; i + kOutputs <= p.outputs; i += kOutputs) decode_outputs<Rows, kOutputs>(p, i);
  for (; i < p.outputs; ++i) decode_outputs<Rows, 1>(p, i);
}

template <class Problem>
MBOK_INLINE void decode(const Problem& p) {
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
