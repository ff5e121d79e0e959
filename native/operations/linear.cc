// Y = X·Wᵀ + bias. Up to eight rows stream the weights once at memory bandwidth (dense_decode), in f32 whatever the
// precision. More rows are a packed product. `path_rows` replaces their number where a run sets it: a row then has the same
// bits beside any number of others.
//   x [R,n], w [m,n] (any type of weights.h), bias? [1,m], scales? [m,1] → y [R,m]
#include <algorithm>

#include "operations/linear_product.h"
#include "operations/weights.h"
#include "runtime/cpu.h"

namespace mbok {
namespace {

constexpr int kWeights = 1, kBias = 2, kScales = 3;

void check(const Call& call) {
  expect_counts_between(call, 2, 4, 1, 1, 1);
  const Tensor& x = call.input(0);
  const Tensor& w = call.input(kWeights);
  expect_weights(call, kWeights, kScales, "w");
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, w.cols);
  if (call.has_input(kBias)) expect_tensor(call, call.input(kBias), "bias", TensorType::kF32, 1, w.rows);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, w.rows);
}

PanelProduct describe(const Call& call) {
  return rows_product(call.input(0), call.output(0), call.has_input(kBias) ? call.input(kBias).f32() : nullptr,
                      precision_attribute(call, 0));
}

WeightOperand operand(const Call& call, const PanelProduct& p) {
  return WeightOperand(Weights(call, kWeights, kScales), false, p.precision);
}

size_t scratch_bytes(const Call& call, int threads) {
  const PanelProduct p = describe(call);
  return panel_product_scratch(p, operand(call, p), threads);
}

DenseDecodeFunction* decode_function(TensorType type) {
  switch (type) {
    case TensorType::kF16:
      return dense_decode_f16_table.best();
    case TensorType::kBf16:
      return dense_decode_bf16_table.best();
    case TensorType::kI8:
      return dense_decode_i8_table.best();
    case TensorType::kQ8:
      return dense_decode_q8_table.best();
    default:
      return dense_decode_f32_table.best();
  }
}

void decode(const Call& call, const PanelProduct& p) {
  const Weights w(call, kWeights, kScales);
  DenseDecodeFunction* const kernel = decode_function(w.type());
  // Prefetch distance, best for two threads: 2 to 8 KB on Zen 5, 0.5 to 6 KB on Granite Rapids.
  const bool intel = (cpu_features() & kIntel) != 0;
  const int64_t ahead = intel ? 2048 : 6144;
  // large layers use long runs, because every run starts without prefetch
  constexpr int64_t kTasks = 16;
  const int64_t outputs = std::max(decode_outputs(p.depth, p.n), (p.n + kTasks - 1) / kTasks);
  // whose weights stay in cache while more than eight rows take turns
  constexpr int64_t kCachedBytes = 1 << 16;
  const auto row = static_cast<int64_t>(row_bytes(w.type(), p.depth));
  const int64_t cached = std::max<int64_t>(1, kCachedBytes / std::max<int64_t>(1, row));
  call.pool->parallel_for((p.n + outputs - 1) / outputs, [&](int64_t task, int) {
    const int64_t end = std::min(p.n, (task + 1) * outputs);
    int64_t count = 0;
    for (int64_t begin = task * outputs; begin < end; begin += count) {
      count = std::min(end - begin, p.m <= kDecodeRows ? outputs : cached);
      for (int64_t r = 0; r < p.m; r += kDecodeRows)
        kernel({p.a + r * p.depth, std::min(kDecodeRows, p.m - r), p.depth, w.row(begin), count,
                w.scales() != nullptr ? w.scales() + begin : nullptr, p.bias != nullptr ? p.bias + begin : nullptr,
                p.c + r * p.n + begin, p.n, ahead, intel});
    }
  });
}

void run(const Call& call) {
  const PanelProduct p = describe(call);
  if (path_rows(call, p.m) <= kDecodeRows) return decode(call, p);
  panel_product(*call.pool, p, operand(call, p), call.scratch);
}

}  // namespace

extern const Operation linear_operation;
const Operation linear_operation = {"linear", check, scratch_bytes, run, false};

}  // namespace mbok
