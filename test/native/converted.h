// A multi-Boolean matrix for the tests of the conversion, and its value in float64.
#pragma once

#include <vector>

#include "run.h"
#include "test.h"

namespace mbok::test {

inline size_t element(int64_t index) { return static_cast<size_t>(index); }

struct Converted {
  int64_t m, n;
  int kernels;
  std::vector<uint64_t> bits;
  std::vector<float> s_out, s_in, residual;

  Converted(int64_t rows, int64_t cols, int count)
      : m(rows),
        n(cols),
        kernels(count),
        bits(static_cast<size_t>(count * rows * words_per_row(cols))),
        s_out(static_cast<size_t>(count * rows)),
        s_in(static_cast<size_t>(count * cols)),
        residual(static_cast<size_t>(count)) {}

  static Converted random(Random& random, int64_t m, int64_t n, int kernels) {
    Converted c(m, n, kernels);
    c.bits = random.bits(kernels * m, n);
    c.s_out = random.normals(kernels * m);
    c.s_in = random.normals(kernels * n);
    return c;
  }

  Tensor bits_tensor() const { return bit_matrix(bits, kernels * m, n); }
  Tensor s_out_tensor() const { return matrix(s_out, kernels, m); }
  Tensor s_in_tensor() const { return matrix(s_in, kernels, n); }
  double sign(int k, int64_t i, int64_t j) const {
    return (bits[static_cast<size_t>((k * m + i) * words_per_row(n) + j / 64)] >> (j % 64)) & 1 ? 1.0 : -1.0;
  }
  double out(int k, int64_t i) const { return static_cast<double>(s_out[static_cast<size_t>(k * m + i)]); }
  double in(int k, int64_t j) const { return static_cast<double>(s_in[static_cast<size_t>(k * n + j)]); }
  double value(int64_t i, int64_t j) const {
    double sum = 0;
    for (int k = 0; k < kernels; ++k) sum += sign(k, i, j) * out(k, i) * in(k, j);
    return sum;
  }
  bool same_bits(const Converted& other) const {
    return bits == other.bits && s_out == other.s_out && s_in == other.s_in && residual == other.residual;
  }
  bool finite() const {
    for (const std::vector<float>* values : {&s_out, &s_in, &residual})
      for (const float value : *values)
        if (!std::isfinite(value)) return false;
    return true;
  }
};

inline double norm_of(const std::vector<float>& values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(squares);
}

inline double relative_residual(const std::vector<float>& w, const Converted& c) {
  double squares = 0;
  for (int64_t i = 0; i < c.m; ++i)
    for (int64_t j = 0; j < c.n; ++j) {
      const double rest = static_cast<double>(w[static_cast<size_t>(i * c.n + j)]) - c.value(i, j);
      squares += rest * rest;
    }
  return std::sqrt(squares) / norm_of(w);
}

inline Converted extract(ThreadPool& pool, const std::vector<float>& w, int64_t m, int64_t n, int kernels) {
  Converted c(m, n, kernels);
  run_operation(pool, "svid", {matrix(w, m, n)},
                {c.bits_tensor(), c.s_out_tensor(), c.s_in_tensor(), matrix(c.residual, 1, kernels)}, {1000});
  return c;
}

// Solves A x = b in float64, A [n, n] symmetric positive definite, by elimination with pivoting.
inline std::vector<double> solve(std::vector<double> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t c = 0; c < n; ++c) {
    size_t pivot = c;
    for (size_t r = c + 1; r < n; ++r)
      if (std::fabs(a[r * n + c]) > std::fabs(a[pivot * n + c])) pivot = r;
    for (size_t s = 0; s < n; ++s) std::swap(a[c * n + s], a[pivot * n + s]);
    std::swap(b[c], b[pivot]);
    for (size_t r = c + 1; r < n; ++r) {
      const double factor = a[r * n + c] / a[c * n + c];
      for (size_t s = c; s < n; ++s) a[r * n + s] -= factor * a[c * n + s];
      b[r] -= factor * b[c];
    }
  }
  for (size_t c = n; c-- > 0;) {
    for (size_t s = c + 1; s < n; ++s) b[c] -= a[c * n + s] * b[s];
    b[c] /= a[c * n + c];
  }
  return b;
}

// Returns (gram + ridge · mean(diag gram) · I)⁻¹ moment.
inline std::vector<double> solve_ridge(std::vector<double> gram, const std::vector<double>& moment, double ridge) {
  const size_t n = moment.size();
  double mean = 0;
  for (size_t i = 0; i < n; ++i) mean += gram[i * n + i] / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) gram[i * n + i] += ridge * mean;
  return solve(gram, moment);
}

}  // namespace mbok::test
