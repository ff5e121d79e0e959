// The activation functions and their slopes in terms of Vec. The bodies of activation and gated_activation include this
// file inside their namespaces. `kind` is a constant where the functions are inlined.

struct ActivationAt {
  Vec value, slope;  // the compiler removes slope where it is unused
};

// σ(x) and 1 − σ(x) = σ(−x), each to full relative precision: slopes multiply the smaller one by a large x.
struct Sigmoids {
  Vec value, complement;
};

MBOK_INLINE Sigmoids sigmoids(Vec x) {
  const Vec e = exp(-abs(x));
  const Vec large = broadcast(1.0f) / (broadcast(1.0f) + e), small = e * large;
  const Mask negative = x < zero();
  return {select(negative, small, large), select(negative, large, small)};
}

MBOK_INLINE ActivationAt activation_at(ActivationKind kind, Vec x) {
  const Vec one = broadcast(1.0f);
  if (kind == ActivationKind::kSilu) {
    const Sigmoids s = sigmoids(x);
    const Vec y = x * s.value;
    return {y, fma(y, s.complement, s.value)};
  }
  if (kind == ActivationKind::kGelu) {
    const Vec half = broadcast(0.5f);
    const Vec probability = fma(half, erf(x * broadcast(0.707106781f)), half);
    const Vec density = broadcast(0.398942280f) * exp(x * x * broadcast(-0.5f));
    return {x * probability, fma(x, density, probability)};
  }
  if (kind == ActivationKind::kGeluTanh) {
    const Vec square = x * x;
    const Sigmoids s = sigmoids(broadcast(1.59576912f) * x * fma(broadcast(0.044715f), square, one));
    const Vec y = x * s.value;
    const Vec inner = broadcast(1.59576912f) * fma(broadcast(3 * 0.044715f), square, one);
    return {y, fma(y * s.complement, inner, s.value)};
  }
  const Mask off = x <= zero();
  return {select(off, zero(), x), select(off, zero(), one)};
}
