// Maximum and sum of exponentials of a row, for the losses, whose bodies include this file inside their namespaces.

// Elements that are summed in f32 before the partial sum is added in f64.
constexpr int64_t kSumRun = 512;

MBOK_INLINE float row_max(const float* x, int64_t cols) {
  Vec a = broadcast(x[0]), b = a;
  int64_t j = 0;
  for (; j + 2 * kLanes <= cols; j += 2 * kLanes) {
    a = max(a, load(x + j));
    b = max(b, load(x + j + kLanes));
  }
  for (; j < cols; j += kLanes) {
    const int64_t n = cols - j < kLanes ? cols - j : kLanes;
    a = max(a, select(first_lanes(n), load_n(x + j, n), a));
  }
  return reduce_max(max(a, b));
}

// Returns Σ_j e^(x_j − largest).
MBOK_INLINE double row_sum_of_exp(const float* x, int64_t cols, float largest) {
  const Vec shift = broadcast(largest);
  double total = 0;
  for (int64_t run = 0; run < cols; run += kSumRun) {
    const int64_t end = cols - run < kSumRun ? cols : run + kSumRun;
    Vec sum = zero();
    int64_t j = run;
    for (; j + kLanes <= end; j += kLanes) sum = sum + exp(load(x + j) - shift);
    if (j < end) sum = sum + select(first_lanes(end - j), exp(load_n(x + j, end - j) - shift), zero());
    total += static_cast<double>(reduce_add(sum));
  }
  return total;
}
