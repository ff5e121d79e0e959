// RMSNorm in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

void rms_norm(const float* x, const float* w, float* y, int64_t rows, int64_t cols, float eps, float offset) {
  const Vec from = broadcast(offset);
  for (int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
    Vec sum = zero();
    const auto square = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec a = load_n(x + j, n);
      sum = fma(a, a, sum);
    };
    int64_t j = 0;
    for (; j + kLanes <= cols; j += kLanes) square(j, kLanes);
    if (j < cols) square(j, cols - j);

    const Vec rho = broadcast(1.0f) / sqrt(broadcast(reduce_add(sum) / static_cast<float>(cols) + eps));
    const auto scale = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      store_n(y + j, load_n(x + j, n) * rho * (from + load_n(w + j, n)), n);
    };
    for (j = 0; j + kLanes <= cols; j += kLanes) scale(j, kLanes);
    if (j < cols) scale(j, cols - j);
  }
}

void rms_norm_gradient(const float* dy, const float* x, const float* w, float* dx, float* dw, int64_t rows,
                       int64_t cols, float eps, float offset) {
  const Vec from = broadcast(offset);
  for (int64_t r = 0; r < rows; ++r, dy += cols, x += cols, dx += cols) {
    Vec sum = zero(), dot = zero();
    const auto reduce = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec a = load_n(x + j, n);
      sum = fma(a, a, sum);
      dot = fma(load_n(dy + j, n) * (from + load_n(w + j, n)), a, dot);
    };
    int64_t j = 0;
    for (; j + kLanes <= cols; j += kLanes) reduce(j, kLanes);
    if (j < cols) reduce(j, cols - j);

    const float inverse = 1.0f / static_cast<float>(cols);
    const Vec rho = broadcast(1.0f) / sqrt(broadcast(reduce_add(sum) * inverse + eps));
    const Vec back = rho * rho * broadcast(reduce_add(dot) * inverse);
    const auto propagate = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec a = load_n(x + j, n), g = load_n(dy + j, n);
      store_n(dx + j, rho * fnma(a, back, g * (from + load_n(w + j, n))), n);
      if (dw != nullptr) store_n(dw + j, fma(g * a, rho, load_n(dw + j, n)), n);
    };
    for (j = 0; j + kLanes <= cols; j += kLanes) propagate(j, kLanes);
    if (j < cols) propagate(j, cols - j);
  }
}
