// LayerNorm in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

namespace {

struct Statistics {
  Vec mean, rho;
};

MBOK_INLINE Statistics statistics(const float* x, int64_t cols, float eps) {
  const float inverse = 1.0f / static_cast<float>(cols);
  Vec sum = zero();
  int64_t j = 0;
  for (; j + kLanes <= cols; j += kLanes) sum = sum + load(x + j);
  if (j < cols) sum = sum + load_n(x + j, cols - j);
  const Vec mean = broadcast(reduce_add(sum) * inverse);

  Vec squares = zero();
  for (j = 0; j + kLanes <= cols; j += kLanes) {
    const Vec a = load(x + j) - mean;
    squares = fma(a, a, squares);
  }
  if (j < cols) {
    const Vec a = select(first_lanes(cols - j), load_n(x + j, cols - j) - mean, zero());
    squares = fma(a, a, squares);
  }
  return {mean, broadcast(1.0f) / sqrt(broadcast(reduce_add(squares) * inverse + eps))};
}

}  // namespace

void layer_norm(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t cols, float eps) {
  for (int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const Statistics s = statistics(x, cols, eps);
    const auto scale = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec shift = b != nullptr ? load_n(b + j, n) : zero();
      store_n(y + j, fma((load_n(x + j, n) - s.mean) * s.rho, load_n(w + j, n), shift), n);
    };
    int64_t j = 0;
    for (; j + kLanes <= cols; j += kLanes) scale(j, kLanes);
    if (j < cols) scale(j, cols - j);
  }
}

void layer_norm_gradient(const float* dy, const float* x, const float* w, float* dx, float* dw, float* db, int64_t rows,
                         int64_t cols, float eps) {
  const float inverse = 1.0f / static_cast<float>(cols);
  for (int64_t r = 0; r < rows; ++r, dy += cols, x += cols, dx += cols) {
    const Statistics s = statistics(x, cols, eps);
    Vec sum = zero(), dot = zero();
    const auto reduce = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec g = load_n(dy + j, n) * load_n(w + j, n);  // 0 beyond the row's end
      sum = sum + g;
      dot = fma(g, (load_n(x + j, n) - s.mean) * s.rho, dot);
    };
    int64_t j = 0;
    for (; j + kLanes <= cols; j += kLanes) reduce(j, kLanes);
    if (j < cols) reduce(j, cols - j);

    const Vec mean = broadcast(reduce_add(sum) * inverse), back = broadcast(reduce_add(dot) * inverse);
    const auto propagate = [&](int64_t j, int64_t n) MBOK_INLINE_LAMBDA {
      const Vec g = load_n(dy + j, n), normalized = (load_n(x + j, n) - s.mean) * s.rho;
      store_n(dx + j, s.rho * (fnma(normalized, back, g * load_n(w + j, n)) - mean), n);
      if (dw != nullptr) store_n(dw + j, fma(g, normalized, load_n(dw + j, n)), n);
      if (db != nullptr) store_n(db + j, load_n(db + j, n) + g, n);
    };
    for (j = 0; j + kLanes <= cols; j += kLanes) propagate(j, kLanes);
    if (j < cols) propagate(j, cols - j);
  }
}
