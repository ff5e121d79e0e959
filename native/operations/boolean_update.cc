// The step of the Boolean optimizer from a dense signal q of the last kernel. It serves layers whose signal had to be
// stored: native Boolean layers, and sums over several uses of one weight.
//   q [m,n], s_out? [K,m], s_in? [K,n] → in place: kernels bits [K·m,n], accumulator [m,n], row_statistics [2,m],
//   column_statistics [2,n], state [1,8]; attributes: K, rule, normalizer, decay, retained, rate
#include "operations/boolean_optimizer.h"

namespace mbok {
namespace {

BooleanUpdate describe(const Call& call) {
  BooleanUpdate u = {};
  const Tensor& q = call.input(0);
  u.layer = {call.integer(0), q.rows, q.cols, call.output(0).bits(), nullptr, nullptr};
  if (call.has_input(1)) u.layer.s_out = call.input(1).f32();
  if (call.has_input(2)) u.layer.s_in = call.input(2).f32();
  u.signal_tiles = true;
  read_boolean_rule(call, 1, u);
  u.accumulator = call.output(1);
  u.row_statistics = call.output(2);
  u.column_statistics = call.output(3);
  u.state = call.output(4);
  return u;
}

void check(const Call& call) {
  expect_counts_between(call, 1, 3, 2, 5, 6);
  expect(call, call.output_count == 5, "takes 5 outputs");
  const BooleanUpdate u = describe(call);
  const int64_t m = u.layer.m, n = u.layer.n, kernels = u.layer.kernels;
  expect_tensor(call, call.input(0), "q", TensorType::kF32, m, n);
  expect(call, call.has_input(1) == call.has_input(2), "'s_out' and 's_in' come together");
  expect(call, kernels == 1 || call.has_input(1), "several kernels need their scales");
  if (call.has_input(1)) {
    expect_tensor(call, call.input(1), "s_out", TensorType::kF32, kernels, m);
    expect_tensor(call, call.input(2), "s_in", TensorType::kF32, kernels, n);
  }
  expect_tensor(call, call.output(0), "kernels", TensorType::kBits, kernels * m, n);
  check_boolean_update(call, u);
}

size_t scratch_bytes(const Call& call, int) {
  return boolean_update_scratch(describe(call), DenseTiles(call.input(0)).grid());
}

void run(const Call& call) {
  DenseTiles tiles(call.input(0));
  run_boolean_update(*call.pool, describe(call), tiles, *call.scalars, call.scratch);
}

}  // namespace

extern const Operation boolean_update_operation;
const Operation boolean_update_operation = {"boolean_update", check, scratch_bytes, run, true};

}  // namespace mbok
