// q += zᵀ·x for a Boolean upstream signal: integers, by popcount of the two transposed matrices.
//   z bits [R,m], x bits [R,n] → += q [m,n]
#include "operations/boolean_product.h"
#include "operations/scratch.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 2, 1, 0);
  const Tensor &z = call.input(0), &x = call.input(1);
  expect_tensor(call, z, "z", TensorType::kBits, x.rows, z.cols);
  expect_tensor(call, x, "x", TensorType::kBits, x.rows, x.cols);
  expect_tensor(call, call.output(0), "q", TensorType::kF32, z.cols, x.cols);
}

struct Parts {
  Parts(const Call& call, Scratch& scratch)
      : z(scratch.take<uint64_t>(call.input(0).cols * words_per_row(call.input(0).rows))),
        x(scratch.take<uint64_t>(packed_words(call.input(1).cols, words_per_row(call.input(1).rows)))) {}
  uint64_t *z, *x;  // columns as rows; columns packed
};

size_t scratch_bytes(const Call& call, int) {
  Scratch scratch(nullptr);
  const Parts parts(call, scratch);
  return scratch.used();
}

void run(const Call& call) {
  const Tensor &z = call.input(0), &x = call.input(1);
  Scratch scratch(call.scratch);
  const Parts parts(call, scratch);
  transpose_bits(*call.pool, z.bits(), z.rows, z.cols, parts.z);
  pack_transposed_bits(*call.pool, x.bits(), x.rows, x.cols, parts.x);
  BooleanProduct p = {};
  p.x = parts.z;
  p.w = parts.x;
  p.rows = z.cols;
  p.cols = x.cols;
  p.words = words_per_row(x.rows);
  p.depth = x.rows;
  p.factor = 1;
  p.y = call.output(0).f32();
  p.y_stride = x.cols;
  p.accumulate = true;
  boolean_product(*call.pool, p);
}

}  // namespace

extern const Operation boolean_linear_signal_boolean_operation;
const Operation boolean_linear_signal_boolean_operation = {"boolean_linear_signal_boolean", check, scratch_bytes, run,
                                                           false};

}  // namespace mbok
