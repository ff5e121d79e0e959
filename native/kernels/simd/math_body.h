// Elementary functions of Vec. avx2.h, avx512.h and neon.h include this file inside their namespaces, so it has no
// include guard. NaN in, NaN out: a broken forward pass must reach the loss, where it is detected.

// Returns e^x within 2 ulp; 0 below −104, infinity above 88.8.
MBOK_INLINE Vec exp(Vec x) {
  // n = round(x / ln 2) and r = x − n·ln 2 in two pieces (Cody & Waite), |r| ≤ 0.35. The clamped operand comes second,
  // so that NaN survives.
  x = max(broadcast(-104.0f), min(broadcast(89.0f), x));
  const Vec n = round_even(x * broadcast(1.44269504f));
  Vec r = fnma(n, broadcast(0.693145752f), x);
  r = fnma(n, broadcast(1.42860677e-6f), r);
  // minimax polynomial of (e^r − 1 − r) / r², from Cephes' expf
  Vec p = fma(broadcast(1.9875691500e-4f), r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p * r, r, r) + broadcast(1.0f);
  return scale_by_power(p, n);
}

// Returns tanh x within 2 ulp. Small arguments use Cephes' odd polynomial, since 1 − 2 / (e^2x + 1) would cancel.
MBOK_INLINE Vec tanh(Vec x) {
  const Vec a = abs(x);
  const Vec s = x * x;
  Vec p = fma(broadcast(-5.70498872745e-3f), s, broadcast(2.06390887954e-2f));
  p = fma(p, s, broadcast(-5.37397155531e-2f));
  p = fma(p, s, broadcast(1.33314422036e-1f));
  p = fma(p, s, broadcast(-3.33332819422e-1f));
  const Vec small = fma(p * s, x, x);
  const Vec large = broadcast(1.0f) - broadcast(2.0f) / (exp(a + a) + broadcast(1.0f));
  return select(a < broadcast(0.625f), small, copy_sign(large, x));
}

// Returns erf x within 2 ulp: an odd polynomial near zero, 1 − e^(polynomial) elsewhere, as in N. Juffa's erff.
MBOK_INLINE Vec erf(Vec x) {
  const Vec a = abs(x);
  const Vec s = x * x;
  Vec p = fma(broadcast(-5.96761703e-4f), s, broadcast(4.99119423e-3f));
  p = fma(p, s, broadcast(-2.67681349e-2f));
  p = fma(p, s, broadcast(1.12819925e-1f));
  p = fma(p, s, broadcast(-3.76125336e-1f));
  p = fma(p, s, broadcast(1.28379166e-1f));
  const Vec small = fma(p, x, x);
  // beyond 4 erf is 1 in f32, and the polynomial is no longer monotonic
  const Vec c = min(broadcast(4.0f), a);
  const Vec cc = c * c;
  Vec q = fma(broadcast(-1.72853470e-5f), c, broadcast(3.83197126e-4f));
  q = fma(q, cc, fma(broadcast(-3.88396438e-3f), c, broadcast(2.42546219e-2f)));
  q = fma(q, c, broadcast(-1.06777877e-1f));
  q = fma(q, c, broadcast(-6.34846687e-1f));
  q = fma(q, c, broadcast(-1.28717512e-1f));
  q = fma(q, c, -c);
  const Vec large = copy_sign(broadcast(1.0f) - exp(q), x);
  return select(a < broadcast(0.927734375f), small, large);
}
