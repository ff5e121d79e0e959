// Y = X·Wᵀ + bias. Up to eight rows stream the weights once at memory bandwidth (dense_decode), in f32 whatever the
// precision; more rows are a packed product.
//   x [R,n], w [m,n], bias? [1,m] → y [R,m]
#include "kernels/dense_decode/dense_decode.h"
#include "operations/linear_product.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 2, 3, 1, 1, 1);
  const Tensor& x = call.input(0);
  const Tensor& w = call.input(1);
  expect_tensor(call, w, "w", TensorType::kF32, w.rows, w.cols);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, w.cols);
  if (call.input_count > 2) expect_tensor(call, call.input(2), "bias", TensorType::kF32, 1, w.rows, true);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, w.rows);
}

PanelProduct describe(const Call& call) {
  return rows_product(call.input(0), call.output(0), call.has_input(2) ? call.input(2).f32() : nullptr,
                      precision_attribute(call, 0));
}

size_t scratch_bytes(const Call& call, int threads) {
  const PanelProduct p = describe(call);
  const Tensor& w = call.input(1);
  return panel_product_scratch(p, DenseOperand(w.f32(), w.cols, false, p.precision), threads);
}

void decode(const Call& call, const PanelProduct& p) {
  const float* w = call.input(1).f32();
  DenseDecodeFunction* const kernel = dense_decode_table.best();
  const int64_t outputs = decode_outputs(p.depth, p.n);
  call.pool->parallel_for((p.n + outputs - 1) / outputs, [&](int64_t task, int) {
    const int64_t begin = task * outputs, count = begin + outputs < p.n ? outputs : p.n - begin;
    kernel({p.a, p.m, p.depth, w + begin * p.depth, count, p.bias != nullptr ? p.bias + begin : nullptr, p.c + begin,
            p.n});
  });
}

void run(const Call& call) {
  const PanelProduct p = describe(call);
  if (p.m <= kDecodeRows) return decode(call, p);
  const Tensor& w = call.input(1);
  panel_product(*call.pool, p, DenseOperand(w.f32(), w.cols, false, p.precision), call.scratch);
}

}  // namespace

extern const Operation linear_operation;
const Operation linear_operation = {"linear", check, scratch_bytes, run, false};

}  // namespace mbok
