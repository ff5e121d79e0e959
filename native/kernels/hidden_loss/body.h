// Hidden-state losses in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

HiddenDistance hidden_distance(const float* h, const float* t, int64_t cols) {
  constexpr int64_t kRun = 512;
  HiddenDistance total = {0, 0};
  for (int64_t run = 0; run < cols; run += kRun) {
    const int64_t end = cols - run < kRun ? cols : run + kRun;
    Vec difference = zero(), norm = zero();
    const auto step = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec target = load_n(t + j, n), d = load_n(h + j, n) - target;
      difference = fma(d, d, difference);
      norm = fma(target, target, norm);
    };
    int64_t j = run;
    for (; j + kLanes <= end; j += kLanes) step(j, kLanes);
    if (j < end) step(j, end - j);
    total.difference += static_cast<double>(reduce_add(difference));
    total.norm += static_cast<double>(reduce_add(norm));
  }
  return total;
}

void hidden_loss_gradient(const float* h, const float* t, int64_t cols, float factor, float* dh) {
  const Vec scale = broadcast(factor);
  int64_t j = 0;
  for (; j + kLanes <= cols; j += kLanes) store(dh + j, scale * (load(h + j) - load(t + j)));
  if (j < cols) store_n(dh + j, scale * (load_n(h + j, cols - j) - load_n(t + j, cols - j)), cols - j);
}
