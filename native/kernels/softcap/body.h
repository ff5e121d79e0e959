// Soft caps in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

void softcap(float cap, const float* x, float* y, int64_t count) {
  const Vec c = broadcast(cap), inverse = broadcast(1.0f / cap);
  const auto apply = [&](int64_t i, int64_t n)
                         MBOK_INLINE_LAMBDA { store_n(y + i, c * tanh(load_n(x + i, n) * inverse), n); };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) apply(i, kLanes);
  if (i < count) apply(i, count - i);
}

void softcap_gradient(float cap, const float* dy, const float* x, float* dx, int64_t count) {
  const Vec one = broadcast(1.0f), factor = broadcast(-2.0f / cap);
  const auto apply = [&](int64_t i, int64_t n) MBOK_INLINE_LAMBDA {
    // 1 − tanh² u = 4e / (1 + e)² with e = e^(−2|u|) keeps its relative precision where tanh is 1 in f32
    const Vec e = exp(factor * abs(load_n(x + i, n)));
    const Vec half = one / (one + e);
    store_n(dx + i, load_n(dy + i, n) * (broadcast(4.0f) * e * half * half), n);
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) apply(i, kLanes);
  if (i < count) apply(i, count - i);
}
