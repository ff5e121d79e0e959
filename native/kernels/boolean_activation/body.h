// The functions of boolean_activation.h over Vec. avx2.cc, avx512.cc and neon.cc include this file inside their
// namespaces, so it has no include guard.
namespace {

MBOK_INLINE Vec derivative(Vec dy, Vec s, Vec threshold, Vec alpha) {
  const Vec e = exp(broadcast(-2.0f) * abs(alpha * (s - threshold)));
  const Vec one_plus = broadcast(1.0f) + e;
  return dy * (broadcast(4.0f) * e / (one_plus * one_plus));
}

}  // namespace

void boolean_activation(const float* s, float threshold, uint64_t* bits, int64_t cols) {
  const Vec t = broadcast(threshold);
  for (int64_t first = 0; first < cols; first += 64) {
    const int64_t last = cols - first < 64 ? cols : first + 64;
    uint64_t packed = 0;
    int64_t j = first;
    for (; j + kLanes <= last; j += kLanes) packed |= bits_of(load(s + j) >= t) << (j - first);
    if (j < last) packed |= bits_of((load_n(s + j, last - j) >= t) & first_lanes(last - j)) << (j - first);
    bits[first / 64] = packed;
  }
}

void boolean_activation_gradient(const float* dy, const float* s, float threshold, float alpha, float* ds,
                                 int64_t count) {
  const Vec t = broadcast(threshold), a = broadcast(alpha);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) store(ds + j, derivative(load(dy + j), load(s + j), t, a));
  const int64_t n = count - j;
  if (n > 0) store_n(ds + j, derivative(load_n(dy + j, n), load_n(s + j, n), t, a), n);
}
