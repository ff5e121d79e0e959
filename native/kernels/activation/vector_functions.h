// The activation functions and their slopes in terms of Vec; included by the bodies of activation and gated_activation
// inside their namespaces. `kind` is a constant where they are inlined.

struct ActivationAt {
  Vec value, slope;  // slope is left out by the compiler where nobody reads it
};

MBOK_INLINE ActivationAt activation_at(ActivationKind kind, Vec x) {
  const Vec one = broadcast(1.0f);
  if (kind == ActivationKind::kSilu) {
    const Vec s = sigmoid(x), y = x * s;
    return {y, fma(y, one - s, s)};
  }
  if (kind == ActivationKind::kGelu) {
    const Vec half = broadcast(0.5f);
    const Vec probability = fma(half, erf(x * broadcast(0.707106781f)), half);
    const Vec density = broadcast(0.398942280f) * exp(x * x * broadcast(-0.5f));
    return {x * probability, fma(x, density, probability)};
  }
  if (kind == ActivationKind::kGeluTanh) {
    const Vec square = x * x;
    const Vec s = sigmoid(broadcast(1.59576912f) * x * fma(broadcast(0.044715f), square, one));
    const Vec y = x * s;
    const Vec inner = broadcast(1.59576912f) * fma(broadcast(3 * 0.044715f), square, one);
    return {y, fma(y * (one - s), inner, s)};
  }
  const Mask off = x <= zero();
  return {select(off, zero(), x), select(off, zero(), one)};
}
