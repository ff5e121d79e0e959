// adamw over Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces, so it has no include guard.
namespace {

struct Constants {
  Vec scale, keep, beta1, beta2, one_minus_beta1, one_minus_beta2, rate, root, eps;
};

// Updates p, m and v.
MBOK_INLINE void step_vector(const Constants& c, Vec g, Vec& p, Vec& m, Vec& v) {
  g = g * c.scale;
  m = c.beta1 * m + c.one_minus_beta1 * g;
  v = c.beta2 * v + c.one_minus_beta2 * (g * g);
  p = c.keep * p - c.rate * m / (sqrt(v) * c.root + c.eps);
}

}  // namespace

void adamw(const float* g, float* p, float* m, float* v, int64_t count, const AdamwStep& step) {
  const Constants c = {broadcast(step.scale),
                       broadcast(step.keep),
                       broadcast(step.beta1),
                       broadcast(step.beta2),
                       broadcast(step.one_minus_beta1),
                       broadcast(step.one_minus_beta2),
                       broadcast(step.rate),
                       broadcast(step.root),
                       broadcast(step.eps)};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Vec a = load(p + i), b = load(m + i), d = load(v + i);
    step_vector(c, load(g + i), a, b, d);
    store(p + i, a);
    store(m + i, b);
    store(v + i, d);
  }
  if (i == count) return;
  const int64_t n = count - i;
  Vec a = load_n(p + i, n), b = load_n(m + i, n), d = load_n(v + i, n);
  step_vector(c, load_n(g + i, n), a, b, d);
  store_n(p + i, a, n);
  store_n(m + i, b, n);
  store_n(v + i, d, n);
}
