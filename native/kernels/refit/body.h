// The passes of the refit over Vec and Wide. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

#include "kernels/refit/search_body.h"

namespace {

template <int K>
void nearest_levels_of(const float* w, const CodeRow<uint64_t>& row, int64_t n) {
  for (int64_t start = 0; start < n; start += 64) {
    uint64_t words[K] = {};
    const auto choose = [&](int64_t j, int64_t count) MBOK_INLINE_LAMBDA {
      Vec magnitude[K];
      MBOK_UNROLL
      for (int k = 0; k < K; ++k) {
        magnitude[k] = broadcast(row.s_out[k]) * load_n(row.s_in + k * row.s_in_stride + j, count);
      }
      const uint64_t valid = (uint64_t{1} << count) - 1;
      choose_levels<K>(load_n(w + j, count), magnitude,
                       [&](int k, uint64_t signs) MBOK_INLINE_LAMBDA { words[k] |= (signs & valid) << (j - start); });
    };
    const int64_t end = start + 64 < n ? start + 64 : n;
    int64_t j = start;
    for (; j + kLanes <= end; j += kLanes) choose(j, kLanes);
    if (j < end) choose(j, end - j);
    MBOK_UNROLL
    for (int k = 0; k < K; ++k) row.bits[k * row.bits_stride + start / 64] = words[k];
  }
}

// Index of the pair k ≤ l among the K (K + 1) / 2 pairs.
template <int K>
constexpr int pair(int k, int l) {
  return k * K - k * (k - 1) / 2 + l - k;
}

template <int K>
void row_sums_of(const float* w, const CodeRow<const uint64_t>& row, int64_t n, double* gram, double* moment) {
  Wide products[K * (K + 1) / 2], moments[K];
  MBOK_UNROLL
  for (int i = 0; i < K * (K + 1) / 2; ++i) products[i] = broadcast_wide(0);
  MBOK_UNROLL
  for (int k = 0; k < K; ++k) moments[k] = broadcast_wide(0);
  const auto add = [&](int64_t j, int64_t count) MBOK_INLINE_LAMBDA {
    Wide p[K];
    const Wide value = widen_n(w + j, count);
    MBOK_UNROLL
    for (int k = 0; k < K; ++k) {
      p[k] = signed_by(widen_n(row.s_in + k * row.s_in_stride + j, count),
                       row.bits[k * row.bits_stride + j / 64] >> (j % 64));
      moments[k] = fma(p[k], value, moments[k]);
    }
    MBOK_UNROLL
    for (int k = 0; k < K; ++k) {
      MBOK_UNROLL
      for (int l = k; l < K; ++l) products[pair<K>(k, l)] = fma(p[k], p[l], products[pair<K>(k, l)]);
    }
  };
  int64_t j = 0;
  for (; j + kWideLanes <= n; j += kWideLanes) add(j, kWideLanes);
  if (j < n) add(j, n - j);
  for (int k = 0; k < K; ++k) {
    moment[k] = reduce_add(moments[k]);
    for (int l = k; l < K; ++l) gram[k * K + l] = gram[l * K + k] = reduce_add(products[pair<K>(k, l)]);
  }
}

template <int K>
void column_sums_of(const float* w, int64_t w_stride, int64_t rows, const CodeStrip& strip, int64_t cols, double* gram,
                    double* moment) {
  const auto add = [&](int64_t j, int64_t count) MBOK_INLINE_LAMBDA {
    Wide products[K * (K + 1) / 2], moments[K];
    MBOK_UNROLL
    for (int k = 0; k < K; ++k) {
      moments[k] = load_wide(moment + k * 64 + j);
      MBOK_UNROLL
      for (int l = k + 1; l < K; ++l) products[pair<K>(k, l)] = load_wide(gram + (k * K + l) * 64 + j);
    }
    for (int64_t i = 0; i < rows; ++i) {
      const Wide value = widen_n(w + i * w_stride + j, count);
      Wide p[K];
      MBOK_UNROLL
      for (int k = 0; k < K; ++k) {
        p[k] = signed_by(broadcast_wide(static_cast<double>(strip.s_out[k * strip.s_out_stride + i])),
                         strip.bits[k * strip.kernel_stride + i * strip.row_stride] >> j);
        moments[k] = fma(p[k], value, moments[k]);
      }
      MBOK_UNROLL
      for (int k = 0; k < K; ++k) {
        MBOK_UNROLL
        for (int l = k + 1; l < K; ++l) {
          products[pair<K>(k, l)] = fma(p[k], p[l], products[pair<K>(k, l)]);
        }
      }
    }
    MBOK_UNROLL
    for (int k = 0; k < K; ++k) {
      store_wide(moment + k * 64 + j, moments[k]);
      MBOK_UNROLL
      for (int l = k + 1; l < K; ++l) store_wide(gram + (k * K + l) * 64 + j, products[pair<K>(k, l)]);
    }
  };
  int64_t j = 0;
  for (; j + kWideLanes <= cols; j += kWideLanes) add(j, kWideLanes);
  if (j < cols) add(j, cols - j);
}

}  // namespace

void nearest_levels(const float* w, const CodeRow<uint64_t>& row, int64_t n) {
  MBOK_FOR_KERNELS(row.kernels, nearest_levels_of, w, row, n)
}

void row_sums(const float* w, const CodeRow<const uint64_t>& row, int64_t n, double* gram, double* moment) {
  MBOK_FOR_KERNELS(row.kernels, row_sums_of, w, row, n, gram, moment)
}

void column_sums(const float* w, int64_t w_stride, int64_t rows, const CodeStrip& strip, int64_t cols, double* gram,
                 double* moment) {
  MBOK_FOR_KERNELS(strip.kernels, column_sums_of, w, w_stride, rows, strip, cols, gram, moment)
}

double residual_row(const float* w, const CodeRow<const uint64_t>& row, int64_t n, float* out) {
  Wide squares = broadcast_wide(0);
  const auto subtract = [&](int64_t j, int64_t count) MBOK_INLINE_LAMBDA {
    Vec rest = load_n(w + j, count);
    for (int k = 0; k < row.kernels; ++k) {
      const Vec magnitude = broadcast(row.s_out[k]) * load_n(row.s_in + k * row.s_in_stride + j, count);
      rest = rest - signed_by(magnitude, row.bits[k * row.bits_stride + j / 64] >> (j % 64));
    }
    if (out != nullptr) store_n(out + j, rest, count);
    float lanes[kLanes];
    store(lanes, rest);
    for (int64_t half = 0; half < 2; ++half) {
      const Wide part = widen(lanes + half * kWideLanes);
      squares = fma(part, part, squares);
    }
  };
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) subtract(j, kLanes);
  if (j < n) subtract(j, n - j);
  return reduce_add(squares);
}

void design_row(const uint64_t* bits, const float* s_in, int64_t n, float* out) {
  const auto sign = [&](int64_t j, int64_t count) MBOK_INLINE_LAMBDA {
    store_n(out + j, signed_by(load_n(s_in + j, count), bits[j / 64] >> (j % 64)), count);
  };
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) sign(j, kLanes);
  if (j < n) sign(j, n - j);
}
