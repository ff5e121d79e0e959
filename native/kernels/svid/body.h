// The passes of SVID over Wide and Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.
//
// Budget of magnitude_step per Wide of a row. First pass: 2 loads, a conversion, an abs and an fma. Second pass: the
// same and a store into `sum`, which stays in L1 or L2. Memory-bound for matrices that exceed the caches.

void magnitude_step(const float* r, int64_t rows, int64_t n, const double* v, double* u, double* sum) {
  constexpr int64_t kStep = 4 * kWideLanes;  // four sums hide the latency of fma
  for (int64_t i = 0; i < rows; ++i, r += n) {
    Wide dot[4] = {broadcast_wide(0), broadcast_wide(0), broadcast_wide(0), broadcast_wide(0)};
    int64_t j = 0;
    for (; j + kStep <= n; j += kStep) {
      MBOK_UNROLL
      for (int64_t s = 0; s < 4; ++s) {
        const int64_t at = j + s * kWideLanes;
        dot[s] = fma(abs(widen(r + at)), load_wide(v + at), dot[s]);
      }
    }
    for (; j < n; j += kWideLanes) {
      const int64_t count = n - j < kWideLanes ? n - j : kWideLanes;
      dot[0] = fma(abs(widen_n(r + j, count)), load_wide_n(v + j, count), dot[0]);
    }
    u[i] = reduce_add((dot[0] + dot[1]) + (dot[2] + dot[3]));

    const Wide weight = broadcast_wide(u[i]);
    const bool first = i == 0;
    const auto add = [&](int64_t j, int64_t count) MBOK_INLINE_LAMBDA {
      const Wide magnitude = abs(widen_n(r + j, count));
      store_wide_n(sum + j, first ? weight * magnitude : fma(weight, magnitude, load_wide_n(sum + j, count)), count);
    };
    for (j = 0; j + kWideLanes <= n; j += kWideLanes) add(j, kWideLanes);
    if (j < n) add(j, n - j);
  }
}

double extract_row(const float* r, float s_out, const float* s_in, int64_t n, uint64_t* bits, float* out) {
  const Vec scale = broadcast(s_out);
  double squares = 0;
  for (int64_t start = 0; start < n; start += 64) {
    uint64_t word = 0;
    Vec sum = zero();
    const auto extract = [&](int64_t j, int64_t count) MBOK_INLINE_LAMBDA {
      const Vec value = load_n(r + j, count);
      const uint64_t positive = bits_of((value >= zero()) & first_lanes(count));
      const Vec rest = value - signed_by(scale * load_n(s_in + j, count), positive);
      store_n(out + j, rest, count);
      sum = fma(rest, rest, sum);  // lanes beyond the row are ±0
      word |= positive << (j - start);
    };
    const int64_t end = start + 64 < n ? start + 64 : n;
    int64_t j = start;
    for (; j + kLanes <= end; j += kLanes) extract(j, kLanes);
    if (j < end) extract(j, end - j);
    bits[start / 64] = word;
    squares += static_cast<double>(reduce_add(sum));
  }
  return squares;
}
