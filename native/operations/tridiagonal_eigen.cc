#include "operations/tridiagonal_eigen.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "operations/product.h"

namespace mbok {
namespace {

constexpr int64_t kLeaf = 32;
// Poles and weights smaller than this, relative to the matrix, are dropped. Eigenvectors are f32, so it is exact enough.
constexpr double kNegligible = 1e-10;
constexpr int kMostSteps = 100;

// Sides of a join whose columns a row of vectors occupies.
enum : uint8_t { kLeft = 1, kRight = 2 };

// C[k, width] = U[k, depth] · rows[depth, width].
ProductShape join_shape(int64_t k, int64_t width, int64_t depth, int64_t stride) {
  return {k, width, depth, depth, width, stride, false, true, false};
}

// Implicit QL of a small tridiagonal matrix. z [n, n] becomes its eigenvectors in columns.
void solve_leaf(int64_t n, double* d, double* e, double* z) {
  std::fill(z, z + n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) z[i * n + i] = 1;
  e[n - 1] = 0;
  for (int64_t l = 0; l < n; ++l) {
    for (int steps = 0; steps < kMostSteps; ++steps) {
      int64_t m = l;
      for (; m + 1 < n; ++m) {
        const double size = std::abs(d[m]) + std::abs(d[m + 1]);
        if (std::abs(e[m]) <= std::numeric_limits<double>::epsilon() * size) break;
      }
      if (m == l) break;
      double g = (d[l + 1] - d[l]) / (2 * e[l]);
      double r = std::hypot(g, 1.0);
      g = d[m] - d[l] + e[l] / (g + std::copysign(r, g));
      double s = 1, c = 1, p = 0;
      int64_t i = m - 1;
      for (; i >= l; --i) {
        double f = s * e[i];
        const double b = c * e[i];
        r = std::hypot(f, g);
        e[i + 1] = r;
        if (r == 0) {
          d[i + 1] -= p;
          e[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        for (int64_t k = 0; k < n; ++k) {
          f = z[k * n + i + 1];
          z[k * n + i + 1] = s * z[k * n + i] + c * f;
          z[k * n + i] = c * z[k * n + i] - s * f;
        }
      }
      if (r == 0 && i >= l) continue;
      d[l] -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
}

// A root of 1 + rho Σ w_i² / (d_i − λ): λ = d[origin] + shift, from the pole that is nearer.
struct Root {
  int64_t origin;
  double shift;
};

// Finds root j, between poles j and j + 1, by rational interpolation of the sums on either side (Bunch, Nielsen and
// Sorensen 1978), within a bracket that halves where interpolation fails.
Root find_root(int64_t j, int64_t k, const double* d, const double* w, double rho) {
  double total = 0;
  for (int64_t i = 0; i < k; ++i) total += w[i] * w[i];
  const bool last = j == k - 1;
  const double width = last ? rho * total : d[j + 1] - d[j];
  const auto value_at = [&](int64_t origin, double shift) {
    double sum = 1;
    for (int64_t i = 0; i < k; ++i) sum += rho * w[i] * w[i] / (d[i] - d[origin] - shift);
    return sum;
  };
  const bool right = !last && value_at(j, width / 2) < 0;
  const int64_t origin = right ? j + 1 : j;
  double low = right ? -width / 2 : 0, high = right ? 0 : last ? width : width / 2;
  double shift = (low + high) / 2;
  for (int step = 0; step < kMostSteps; ++step) {
    double psi = 0, psi_slope = 0, phi = 0, phi_slope = 0;
    for (int64_t i = 0; i <= j; ++i) {
      const double gap = d[i] - d[origin] - shift, term = rho * w[i] * w[i] / gap;
      psi += term;
      psi_slope += term / gap;
    }
    for (int64_t i = j + 1; i < k; ++i) {
      const double gap = d[i] - d[origin] - shift, term = rho * w[i] * w[i] / gap;
      phi += term;
      phi_slope += term / gap;
    }
    const double f = 1 + psi + phi;
    const double noise =
        std::numeric_limits<double>::epsilon() * static_cast<double>(k) * (1 + std::abs(psi) + std::abs(phi));
    if (std::abs(f) <= noise) break;
    (f < 0 ? low : high) = shift;
    if (high - low <= 2 * std::numeric_limits<double>::epsilon() * std::max(std::abs(low), std::abs(high))) break;
    // 1 + r + s / (left − x) + t / (rest − x) has the value and the slopes of both sums at `shift`
    const double left = d[j] - d[origin] - shift;
    const double s = psi_slope * left * left;
    double next;
    if (last) {
      const double constant = 1 + psi - psi_slope * left;
      next = left + s / constant;
    } else {
      const double rest = d[j + 1] - d[origin] - shift;
      const double t = phi_slope * rest * rest;
      const double constant = 1 + psi - psi_slope * left + phi - phi_slope * rest;
      // constant (left − x)(rest − x) + s (rest − x) + t (left − x) = 0, the root between left and rest
      const double b = constant * (left + rest) + s + t, c = constant * left * rest + s * rest + t * left;
      const double root = std::sqrt(std::max(0.0, b * b - 4 * constant * c));
      const double q = (b + std::copysign(root, b)) / 2;
      const double one = constant != 0 ? q / constant : q, other = q != 0 ? c / q : 0;
      next = one > left && one < rest ? one : other;
    }
    next += shift;
    // only the last root can lie at the end of its bracket
    shift = next > low && (next < high || (last && next == high)) ? next : (low + high) / 2;
  }
  return {origin, shift};
}

class Solver {
 public:
  Solver(ThreadPool& pool, int64_t n, double* d, double* e, float* vectors, const TridiagonalScratch& scratch)
      : pool_(pool), n_(n), d_(d), e_(e), vectors_(vectors), s_(scratch) {}

  void run() {
    std::fill(vectors_, vectors_ + n_ * n_, 0.0f);
    solve(0, n_);
    sort();
  }

 private:
  float* vector(int64_t i) const { return vectors_ + i * n_; }

  void solve(int64_t begin, int64_t end) {
    if (end - begin <= kLeaf) return leaf(begin, end - begin);
    const int64_t middle = (begin + end) / 2;
    const double joint = e_[middle - 1];
    d_[middle - 1] -= std::abs(joint);
    d_[middle] -= std::abs(joint);
    solve(begin, middle);
    solve(middle, end);
    join(begin, middle, end, joint);
  }

  void leaf(int64_t begin, int64_t n) {
    double z[kLeaf * kLeaf], e[kLeaf];
    std::copy(e_ + begin, e_ + begin + n - 1, e);
    solve_leaf(n, d_ + begin, e, z);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) vector(begin + i)[begin + j] = static_cast<float>(z[j * n + i]);
  }

  // Solves diag(d) + rho z zᵀ, z the unit vector of the joint in the basis of the halves.
  void join(int64_t begin, int64_t middle, int64_t end, double joint) {
    const int64_t size = end - begin;
    double* const z = s_.adjusted;
    double norm = 0;
    for (int64_t i = begin; i < end; ++i) {
      const bool left = i < middle;
      z[i] = left ? vector(i)[middle - 1] : std::copysign(1.0, joint) * vector(i)[middle];
      norm += z[i] * z[i];
      s_.sides[i] = left ? kLeft : kRight;
      s_.order[i] = i;
    }
    if (joint == 0 || norm == 0) return;
    const double rho = std::abs(joint) * norm;
    for (int64_t i = begin; i < end; ++i) z[i] /= std::sqrt(norm);
    sort_order(begin, end);
    const int64_t k = deflate(begin, end, rho);
    if (k == 0) return;
    for (int64_t i = 0; i < k; ++i) {
      s_.poles[i] = d_[s_.joined[i]];
      s_.weights[i] = z[s_.joined[i]];
    }
    solve_roots(k, rho);
    rebuild(begin, middle, size, k);
  }

  // Lists in `joined` the rows that change, ascending by pole, and returns their number. Rows of negligible weight stay;
  // of two rows with almost equal poles a rotation clears one weight.
  int64_t deflate(int64_t begin, int64_t end, double rho) {
    double* const z = s_.adjusted;
    double largest = rho;
    for (int64_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(d_[i]));
    const double tolerance = kNegligible * largest;
    int64_t k = 0, before = -1;
    for (int64_t at = begin; at < end; ++at) {
      const int64_t next = s_.order[at];
      if (rho * std::abs(z[next]) <= tolerance) continue;
      if (before >= 0) {
        const double length = std::hypot(z[before], z[next]);
        const double c = z[next] / length, s = -z[before] / length;
        if (std::abs((d_[next] - d_[before]) * c * s) <= tolerance) {
          rotate(begin, end, before, next, c, s);
          const double first = d_[before], second = d_[next];
          d_[before] = first * c * c + second * s * s;
          d_[next] = first * s * s + second * c * c;
          z[before] = 0;
          z[next] = length;
        } else {
          s_.joined[k++] = before;
        }
      }
      before = next;
    }
    if (before >= 0) s_.joined[k++] = before;
    return k;
  }

  void rotate(int64_t begin, int64_t end, int64_t before, int64_t next, double c, double s) {
    float *const x = vector(before), *const y = vector(next);
    for (int64_t j = begin; j < end; ++j) {
      const double a = x[j], b = y[j];
      x[j] = static_cast<float>(c * a + s * b);
      y[j] = static_cast<float>(c * b - s * a);
    }
    s_.sides[before] = s_.sides[next] = s_.sides[before] | s_.sides[next];
  }

  // Finds the roots, then weights for which they are exact (Gu and Eisenstat), so that vectors come out orthogonal.
  void solve_roots(int64_t k, double rho) {
    const double *const d = s_.poles, *const w = s_.weights;
    constexpr int64_t kRoots = 16;
    pool_.parallel_for((k + kRoots - 1) / kRoots, [&](int64_t task, int) {
      for (int64_t j = task * kRoots; j < std::min(k, (task + 1) * kRoots); ++j) {
        const Root root = find_root(j, k, d, w, rho);
        s_.origins[j] = root.origin;
        s_.shifts[j] = root.shift;
      }
    });
    double* const exact = s_.norms;
    pool_.parallel_for((k + kRoots - 1) / kRoots, [&](int64_t task, int) {
      for (int64_t i = task * kRoots; i < std::min(k, (task + 1) * kRoots); ++i) {
        double product = gap(i, k - 1) / rho;
        for (int64_t j = 0; j < i; ++j) product *= gap(i, j) / (d[j] - d[i]);
        for (int64_t j = i; j < k - 1; ++j) product *= gap(i, j) / (d[j + 1] - d[i]);
        exact[i] = std::copysign(std::sqrt(std::max(0.0, product)), w[i]);
      }
    });
    std::copy(exact, exact + k, s_.weights);
    pool_.parallel_for((k + kRoots - 1) / kRoots, [&](int64_t task, int) {
      for (int64_t j = task * kRoots; j < std::min(k, (task + 1) * kRoots); ++j) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i) {
          const double x = w[i] / gap(i, j);
          sum += x * x;
        }
        s_.norms[j] = std::sqrt(sum);
      }
    });
  }

  // Returns root j minus pole i.
  double gap(int64_t i, int64_t j) const { return s_.poles[s_.origins[j]] - s_.poles[i] + s_.shifts[j]; }

  // New vectors = Uᵀ · old ones, one half of the columns after the other. The changed rows come first, the others after.
  void rebuild(int64_t begin, int64_t middle, int64_t size, int64_t k) {
    const int64_t end = begin + size;
    float* copied = s_.rows;
    const auto copy_rows = [&](uint8_t side, int64_t from, int64_t to) {
      for (int64_t i = 0; i < k; ++i) {
        const int64_t row = s_.joined[i];
        if ((s_.sides[row] & side) == 0) continue;
        copied = std::copy(vector(row) + from, vector(row) + to, copied);
      }
    };
    const float* const left = copied;
    copy_rows(kLeft, begin, middle);
    const float* const right = copied;
    copy_rows(kRight, middle, end);
    const float* const others = copied;
    uint8_t* const changed = s_.changed;
    std::fill(changed + begin, changed + end, uint8_t{0});
    for (int64_t i = 0; i < k; ++i) changed[s_.joined[i]] = 1;
    int64_t stay = 0;
    double* const values = s_.adjusted;
    for (int64_t row = begin; row < end; ++row) {
      if (changed[row] != 0) continue;
      copied = std::copy(vector(row) + begin, vector(row) + end, copied);
      values[begin + k + stay++] = d_[row];
    }
    for (int64_t j = 0; j < k; ++j) values[begin + j] = s_.poles[s_.origins[j]] + s_.shifts[j];
    std::copy(values + begin, values + end, d_ + begin);
    multiply(k, kLeft, left, vector(begin) + begin, middle - begin);
    multiply(k, kRight, right, vector(begin) + middle, end - middle);
    for (int64_t i = 0; i < stay; ++i)
      std::copy(others + i * size, others + (i + 1) * size, vector(begin + k + i) + begin);
  }

  void multiply(int64_t k, uint8_t side, const float* rows, float* out, int64_t width) {
    int64_t depth = 0;
    for (int64_t i = 0; i < k; ++i) depth += (s_.sides[s_.joined[i]] & side) != 0;
    if (depth == 0) {
      for (int64_t j = 0; j < k; ++j) std::fill(out + j * n_, out + j * n_ + width, 0.0f);
      return;
    }
    pool_.parallel_for(k, [&](int64_t j, int) {
      float* u = s_.factors + j * depth;
      for (int64_t i = 0; i < k; ++i)
        if ((s_.sides[s_.joined[i]] & side) != 0) *u++ = static_cast<float>(s_.weights[i] / (-gap(i, j) * s_.norms[j]));
    });
    product(pool_, s_.factors, rows, out, join_shape(k, width, depth, n_), Precision::kF32, s_.product);
  }

  // NaN comes last: std::sort needs an order of all values.
  void sort_order(int64_t begin, int64_t end) {
    std::sort(s_.order + begin, s_.order + end, [this](int64_t a, int64_t b) {
      return d_[a] < d_[b] || (std::isnan(d_[b]) && !std::isnan(d_[a]));
    });
  }

  void sort() {
    for (int64_t i = 0; i < n_; ++i) s_.order[i] = i;
    sort_order(0, n_);
    pool_.parallel_for(n_, [&](int64_t i, int) {
      std::copy(vector(s_.order[i]), vector(s_.order[i]) + n_, s_.rows + i * n_);
    });
    std::copy(s_.rows, s_.rows + n_ * n_, vectors_);
    for (int64_t i = 0; i < n_; ++i) s_.poles[i] = d_[s_.order[i]];
    std::copy(s_.poles, s_.poles + n_, d_);
  }

  ThreadPool& pool_;
  int64_t n_;
  double *d_, *e_;
  float* vectors_;
  const TridiagonalScratch& s_;
};

}  // namespace

TridiagonalScratch::TridiagonalScratch(int64_t n, int threads, Scratch& scratch)
    : rows(scratch.take<float>(n * n)),
      factors(scratch.take<float>(n * n)),
      poles(scratch.take<double>(n)),
      weights(scratch.take<double>(n)),
      shifts(scratch.take<double>(n)),
      adjusted(scratch.take<double>(n)),
      norms(scratch.take<double>(n)),
      order(scratch.take<int64_t>(n)),
      origins(scratch.take<int64_t>(n)),
      joined(scratch.take<int64_t>(n)),
      sides(scratch.take<uint8_t>(n)),
      changed(scratch.take<uint8_t>(n)),
      product(scratch.take<std::byte>(
          static_cast<int64_t>(product_scratch(join_shape(n, n, n, n), Precision::kF32, threads)))) {}

void tridiagonal_eigen(ThreadPool& pool, int64_t n, double* diagonal, double* off_diagonal, float* vectors,
                       const TridiagonalScratch& scratch) {
  Solver(pool, n, diagonal, off_diagonal, vectors, scratch).run();
}

}  // namespace mbok
