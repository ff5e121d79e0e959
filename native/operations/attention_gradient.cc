// dq, dk and dv of attention, from its output and logsumexp. Attributes: head dimension d, scale, window, softcap.
//
// One task a sequence and key-value head: dk and dv are sums over all later queries of all heads of the group, which
// the task adds up in order; a batch has enough sequences and heads to fill the threads.
#include "kernels/attention/attention.h"
#include "operations/attention_shape.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

enum Input { kDo, kQ, kK, kV, kO, kLse };

void check(const Call& call) {
  expect_counts(call, 6, 3, 4);
  const AttentionShape s = attention_shape(call, call.input(kQ), call.input(kK), call.input(kV));
  const int64_t q_cols = s.heads * s.d, kv_cols = s.kv_heads * s.d;
  expect_tensor(call, call.input(kDo), "do", TensorType::kF32, s.rows, q_cols);
  expect_tensor(call, call.input(kO), "o", TensorType::kF32, s.rows, q_cols);
  expect_tensor(call, call.input(kLse), "lse", TensorType::kF32, s.rows, s.heads);
  expect_tensor(call, call.output(0), "dq", TensorType::kF32, s.rows, q_cols);
  expect_tensor(call, call.output(1), "dk", TensorType::kF32, s.rows, kv_cols);
  expect_tensor(call, call.output(2), "dv", TensorType::kF32, s.rows, kv_cols);
}

size_t scratch_bytes(const Call& call, int threads) {
  return static_cast<size_t>(threads) * align_up(static_cast<size_t>(attention_gradient_scratch(call.integer(0))) * 4);
}

void run(const Call& call) {
  const AttentionShape s = attention_shape(call, call.input(kQ), call.input(kK), call.input(kV));
  const int64_t length = static_cast<int64_t>(call.scalars->sequence_length);
  const int64_t group = s.heads / s.kv_heads, q_stride = s.heads * s.d, kv_stride = s.kv_heads * s.d;
  const size_t share = align_up(static_cast<size_t>(attention_gradient_scratch(s.d)) * 4);
  call.pool->parallel_for(s.rows / length * s.kv_heads, [&](int64_t task, int worker) {
    const int64_t row = task / s.kv_heads * length, kv_head = task % s.kv_heads;
    const int64_t q = row * q_stride + kv_head * group * s.d, kv = row * kv_stride + kv_head * s.d;
    AttentionGradientGroup g;
    g.q = call.input(kQ).f32() + q;
    g.k = call.input(kK).f32() + kv;
    g.v = call.input(kV).f32() + kv;
    g.o = call.input(kO).f32() + q;
    g.d_o = call.input(kDo).f32() + q;
    g.lse = call.input(kLse).f32() + row * s.heads + kv_head * group;
    g.dq = call.output(0).f32() + q;
    g.dk = call.output(1).f32() + kv;
    g.dv = call.output(2).f32() + kv;
    g.q_stride = q_stride;
    g.kv_stride = kv_stride;
    g.lse_stride = s.heads;
    g.length = length;
    g.heads = group;
    g.d = s.d;
    g.scale = s.scale;
    g.window = s.window;
    g.softcap = s.softcap;
    attention_gradient_table.best()(g, reinterpret_cast<float*>(call.scratch + static_cast<size_t>(worker) * share));
  });
}

}  // namespace

extern const Operation attention_gradient_operation;
const Operation attention_gradient_operation = {"attention_gradient", check, scratch_bytes, run, false};

}  // namespace mbok
