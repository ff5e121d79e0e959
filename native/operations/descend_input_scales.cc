// One sweep of coordinate descent over the input scales under H. With R = W' − Ŵ, for each column j in turn:
// r = R H[:, j] / H_jj, A[k]_i = B[k, i, j] s_out[k]_i,
//   (A Aᵀ + 1e-6 · mean(diag A Aᵀ) · I) d = A r,  s_in[:, j] += d,  R[:, j] −= Aᵀ d.
// Columns with H_jj = 0 keep their scales.
//
// Columns are processed in blocks of 32. With S = [A of the block | R H[:, block]] the Gram product AᵀS contains all
// that the block's small systems need. This includes how a step of one column changes r of later ones (H_jl Aₗᵀ Aⱼ d).
// So all work of order m · n runs as matrix products, and only (32 K)² numbers are processed serially.
//
// inputs target [m, n], h [n, n] symmetric, kernels bits [K·m, n], s_out [K, m]; output s_in [K, n] (read and written)
#include <algorithm>

#include "operations/calibrated.h"
#include "operations/normal_equations.h"
#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr double kRidge = 1e-6;
constexpr int64_t kBlock = 32;  // divides a word of bits

void check(const Call& call) {
  expect_counts(call, 4, 1, 0);
  const int64_t m = call.input(0).rows, n = call.input(0).cols, kernels = call.input(3).rows;
  expect_calibrated_signs(call);
  expect_tensor(call, call.input(3), "s_out", TensorType::kF32, kernels, m);
  expect_tensor(call, call.output(0), "s_in", TensorType::kF32, kernels, n);
}

// S keeps its full width in the last block, so that the two products differ only in `cols`.
ProductShape block_times_h(int64_t m, int64_t n, int64_t cols, int64_t width) {
  return {m, cols, n, n, n, width, false, false, false};
}
ProductShape gram_shape(int64_t m, int64_t width) {
  return {width - kBlock, width, m, width, width, width, true, true, false};
}

struct Layout {
  int64_t width;  // of S
  size_t rest, s, gram, product, bytes;

  Layout(int64_t m, int64_t n, int64_t kernels, int threads) : width((kernels + 1) * kBlock) {
    rest = 0;
    s = align_up(rest + static_cast<size_t>(m * n) * sizeof(float));
    gram = align_up(s + static_cast<size_t>(m * width) * sizeof(float));
    product = align_up(gram + static_cast<size_t>((width - kBlock) * width) * sizeof(float));
    bytes =
        product + std::max({product_scratch(block_times_h(m, n, std::min(n, kBlock), width), Precision::kF32, threads),
                            product_scratch(block_times_h(m, n, n % kBlock, width), Precision::kF32, threads),
                            product_scratch(gram_shape(m, width), Precision::kF32, threads)});
  }
};

size_t scratch_bytes(const Call& call, int threads) {
  return Layout(call.input(0).rows, call.input(0).cols, call.input(3).rows, threads).bytes;
}

// Computes the steps d[k · kBlock + j] of one block column by column; h points to the block's diagonal part.
void solve_block(const float* gram, int64_t width, const float* h, int64_t n, int64_t cols, int kernels, double* d) {
  for (int64_t j = 0; j < cols; ++j) {
    const double own = static_cast<double>(h[j * n + j]);
    double small[kMaxUnknowns * kMaxUnknowns], moment[kMaxUnknowns], x[kMaxUnknowns] = {};
    for (int k = 0; k < kernels; ++k) {
      const float* row = gram + (k * kBlock + j) * width;
      double sum = static_cast<double>(row[kernels * kBlock + j]);
      for (int64_t s = 0; s < j; ++s) {
        double change = 0;
        for (int l = 0; l < kernels; ++l) change += d[l * kBlock + s] * static_cast<double>(row[l * kBlock + s]);
        sum -= static_cast<double>(h[s * n + j]) * change;
      }
      moment[k] = sum / own;
      for (int l = 0; l < kernels; ++l) small[k * kernels + l] = static_cast<double>(row[l * kBlock + j]);
    }
    if (own > 0) solve_normal_equations(small, moment, kernels, kRidge, x);
    for (int k = 0; k < kernels; ++k) d[k * kBlock + j] = x[k];
  }
}

void run(const Call& call) {
  const int64_t m = call.input(0).rows, n = call.input(0).cols, words = call.input(2).words();
  const int kernels = static_cast<int>(call.input(3).rows);
  const float* h = call.input(1).f32();
  const uint64_t* bits = call.input(2).bits();
  const float* s_out = call.input(3).f32();
  float* s_in = call.output(0).f32();
  const Layout layout(m, n, kernels, call.pool->threads());
  const int64_t width = layout.width;
  float* rest = reinterpret_cast<float*>(call.scratch + layout.rest);
  float* s = reinterpret_cast<float*>(call.scratch + layout.s);
  float* gram = reinterpret_cast<float*>(call.scratch + layout.gram);
  std::byte* scratch = call.scratch + layout.product;

  call.pool->parallel_for(m, [&](int64_t i, int) {
    float scales[kMaxUnknowns];
    for (int k = 0; k < kernels; ++k) scales[k] = s_out[k * m + i];
    const CodeRow<const uint64_t> row = {bits + i * words, m * words, scales, s_in, n, kernels};
    residual_row_table.best()(call.input(0).f32() + i * n, row, n, rest + i * n);
  });

  for (int64_t b = 0; b < n; b += kBlock) {
    const int64_t cols = std::min(kBlock, n - b);
    call.pool->parallel_for(m, [&](int64_t i, int) {
      for (int k = 0; k < kernels; ++k) {
        const uint64_t signs = bits[(k * m + i) * words + b / 64] >> (b % 64);
        const float scale = s_out[k * m + i];
        for (int64_t j = 0; j < kBlock; ++j) s[i * width + k * kBlock + j] = (signs >> j) & 1 ? scale : -scale;
      }
      std::fill_n(s + i * width + kernels * kBlock, kBlock, 0.0f);
    });
    product(*call.pool, rest, h + b * n, s + kernels * kBlock, block_times_h(m, n, cols, width), Precision::kF32,
            scratch);
    product(*call.pool, s, s, gram, gram_shape(m, width), Precision::kF32, scratch);
    double d[kMaxUnknowns * kBlock] = {};
    solve_block(gram, width, h + b * n + b, n, cols, kernels, d);
    for (int k = 0; k < kernels; ++k)
      for (int64_t j = 0; j < cols; ++j) s_in[k * n + b + j] += static_cast<float>(d[k * kBlock + j]);
    call.pool->parallel_for(m, [&](int64_t i, int) {
      for (int64_t j = 0; j < cols; ++j) {
        double change = 0;
        for (int k = 0; k < kernels; ++k)
          change += d[k * kBlock + j] * static_cast<double>(s[i * width + k * kBlock + j]);
        rest[i * n + b + j] -= static_cast<float>(change);
      }
    });
  }
}

}  // namespace

extern const Operation descend_input_scales_operation;
const Operation descend_input_scales_operation = {"descend_input_scales", check, scratch_bytes, run, false};

}  // namespace mbok
