// The f64 dot product in terms of Wide. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

double dot(const float* a, const float* b, int64_t n) {
  constexpr int64_t kStep = 4 * kWideLanes;  // four sums hide the latency of fma
  Wide sum[4] = {broadcast_wide(0), broadcast_wide(0), broadcast_wide(0), broadcast_wide(0)};
  int64_t j = 0;
  for (; j + kStep <= n; j += kStep) {
    MBOK_UNROLL
    for (int64_t s = 0; s < 4; ++s) {
      sum[s] = fma(widen(a + j + s * kWideLanes), widen(b + j + s * kWideLanes), sum[s]);
    }
  }
  for (; j < n; j += kWideLanes) {
    const int64_t count = n - j < kWideLanes ? n - j : kWideLanes;
    sum[0] = fma(widen_n(a + j, count), widen_n(b + j, count), sum[0]);
  }
  return reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3]));
}
