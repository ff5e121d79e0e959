// Y = X·Ŵᵀ + bias, Ŵ = Σ_k diag(s_out[k])·B[k]·diag(s_in[k]) rebuilt panel by panel: the cost of a prompt or a training
// step does not grow with the number of kernels. A few rows stream the bits instead (boolean_decode), in f32 whatever
// the precision.
//   x [R,n], kernels bits [K·m,n], s_out [K,m], s_in [K,n], bias? [1,m] → y [R,m]
#include <algorithm>

#include "kernels/boolean_decode/boolean_decode.h"
#include "kernels/dense_decode/dense_decode.h"
#include "operations/boolean_operand.h"
#include "operations/linear_product.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 4, 5, 1, 1, 1);
  const BooleanLayer w = expect_boolean_layer(call, 1);
  const int64_t rows = call.input(0).rows;
  expect_tensor(call, call.input(0), "x", TensorType::kF32, rows, w.n);
  if (call.input_count > 4) expect_tensor(call, call.input(4), "bias", TensorType::kF32, 1, w.m, true);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, rows, w.m);
}

PanelProduct describe(const Call& call) {
  return rows_product(call.input(0), call.output(0), call.has_input(4) ? call.input(4).f32() : nullptr,
                      precision_attribute(call, 0));
}

// Measured on Zen 5: decoding costs rows · kernels, rebuilding little more for eight rows than for one.
bool decodes(const PanelProduct& p, const BooleanLayer& w) {
  return p.m <= 2 || (p.m <= kDecodeRows && p.m * w.kernels <= 6);
}

// The scaled inputs of decoding: [rows, kernels, 64·words].
size_t scaled_bytes(const PanelProduct& p, const BooleanLayer& w) {
  const int64_t rows = p.m < kDecodeRows ? p.m : kDecodeRows;
  return static_cast<size_t>(rows * w.kernels * w.words() * 64) * sizeof(float);
}

// Enough for any number of rows up to the call's.
size_t scratch_bytes(const Call& call, int threads) {
  const PanelProduct p = describe(call);
  const BooleanLayer w = boolean_layer(call, 1);
  const size_t product = panel_product_scratch(p, BooleanOperand(w, Depth::kColumns, p.precision), threads);
  return std::max(product, scaled_bytes(p, w));
}

void decode(const Call& call, const PanelProduct& p, const BooleanLayer& w) {
  const int64_t words = w.words(), padded = 64 * words;
  float* const scaled = reinterpret_cast<float*>(call.scratch);
  DecodeScaleFunction* const scale = decode_scale_table.best();
  for (int64_t r = 0; r < p.m; ++r)
    for (int64_t k = 0; k < w.kernels; ++k)
      scale(p.a + r * w.n, w.s_in + k * w.n, w.n, scaled + (r * w.kernels + k) * padded);
  BooleanDecodeFunction* const kernel = boolean_decode_table.best();
  const int64_t outputs = decode_outputs(w.kernels * w.n, w.m);
  call.pool->parallel_for((w.m + outputs - 1) / outputs, [&](int64_t task, int) {
    const int64_t begin = task * outputs, count = begin + outputs < w.m ? outputs : w.m - begin;
    kernel({scaled, p.m, w.kernels, w.row(0, begin), words, w.m * words, w.s_out + begin, w.m, count,
            p.bias != nullptr ? p.bias + begin : nullptr, p.c + begin, w.m});
  });
}

void run(const Call& call) {
  const PanelProduct p = describe(call);
  const BooleanLayer w = boolean_layer(call, 1);
  if (decodes(p, w)) return decode(call, p, w);
  panel_product(*call.pool, p, BooleanOperand(w, Depth::kColumns, p.precision), call.scratch);
}

}  // namespace

extern const Operation multi_boolean_linear_operation;
const Operation multi_boolean_linear_operation = {"multi_boolean_linear", check, scratch_bytes, run, false};

}  // namespace mbok
