// Rotary embedding in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

MBOK_INLINE int64_t smaller(int64_t left) { return left < kLanes ? left : kLanes; }

void rope(const float* x, const float* table, float* y, int64_t heads, int64_t d, int64_t turned, float direction) {
  const int64_t half = turned / 2;
  const Vec sign = broadcast(direction);
  for (int64_t head = 0; head < heads; ++head, x += d, y += d) {
    const auto rotate = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec c = load_n(table + j, n), s = sign * load_n(table + half + j, n);
      const Vec low = load_n(x + j, n), high = load_n(x + half + j, n);
      store_n(y + j, fnma(high, s, low * c), n);
      store_n(y + half + j, fma(low, s, high * c), n);
    };
    int64_t j = 0;
    for (; j + kLanes <= half; j += kLanes) rotate(j, kLanes);
    if (j < half) rotate(j, half - j);
    for (j = turned; j < d; j += kLanes) store_n(y + j, load_n(x + j, smaller(d - j)), smaller(d - j));
  }
}
