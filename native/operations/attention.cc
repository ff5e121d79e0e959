// Causal grouped-query attention within each sequence of T rows. The output lse (logsumexp per row and head) is
// optional. Attributes: head dimension d, scale, window (0: none), softcap (0: none), precision. One task per sequence,
// head and block of queries.
#include "kernels/attention/attention.h"

#include "operations/attention_bf16.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 3, 3, 1, 2, 5);
  const AttentionShape s = attention_shape(call, call.input(0), call.input(1), call.input(2));
  expect_tensor(call, call.output(0), "o", TensorType::kF32, s.rows, s.heads * s.d);
  if (call.has_output(1)) expect_tensor(call, call.output(1), "lse", TensorType::kF32, s.rows, s.heads);
}

struct Pieces {
  Pieces(const Call& call, const AttentionShape& s, int threads, Scratch scratch)
      : share(static_cast<int64_t>(align_up(static_cast<size_t>(attention_scratch(s.d)) * 4) / 4)),
        workers(scratch.take<float>(share * threads)),
        operands(s, precision_attribute(call, 4), false, scratch),
        bytes(scratch.used()) {}
  int64_t share;
  float* workers;
  AttentionBf16Operands operands;
  size_t bytes;
};

size_t scratch_bytes(const Call& call, int threads) {
  const AttentionShape s = attention_shape(call, call.input(0), call.input(1), call.input(2));
  return Pieces(call, s, threads, Scratch(nullptr)).bytes;
}

void run(const Call& call) {
  const AttentionShape s = attention_shape(call, call.input(0), call.input(1), call.input(2));
  const int64_t length = static_cast<int64_t>(call.scalars->sequence_length);
  const int64_t sequences = s.rows / length;
  const int64_t blocks = (length + kAttentionQueries - 1) / kAttentionQueries;
  const int64_t group = s.heads / s.kv_heads, q_stride = s.heads * s.d, kv_stride = s.kv_heads * s.d;
  Pieces pieces(call, s, call.pool->threads(), Scratch(call.scratch));
  pieces.operands.convert(*call.pool, call.input(1), call.input(2), length);
  call.pool->parallel_for(sequences * s.heads * blocks, [&](int64_t task, int worker) {
    const int64_t block = blocks - 1 - task / (sequences * s.heads);  // the longest tasks first
    const int64_t sequence = task / s.heads % sequences, head = task % s.heads;
    const int64_t first = block * kAttentionQueries, row = sequence * length + first;
    const int64_t kv = sequence * length * kv_stride + head / group * s.d;
    AttentionBlock b;
    b.q = call.input(0).f32() + row * q_stride + head * s.d;
    b.k = call.input(1).f32() + kv;
    b.v = call.input(2).f32() + kv;
    b.halves = false;
    b.o = call.output(0).f32() + row * q_stride + head * s.d;
    b.lse = call.has_output(1) ? call.output(1).f32() + row * s.heads + head : nullptr;
    b.q_stride = b.o_stride = q_stride;
    b.k_stride = b.v_stride = kv_stride;
    b.lse_stride = s.heads;
    b.first = first;
    b.count = length - first < kAttentionQueries ? length - first : kAttentionQueries;
    b.d = s.d;
    b.scale = s.scale;
    b.window = s.window;
    b.softcap = s.softcap;
    const AttentionBf16 bf16 = pieces.operands.at(sequence, head / group);
    if (pieces.operands.used()) b.bf16 = &bf16;
    attention_table.best()(b, pieces.workers + worker * pieces.share);
  });
}

}  // namespace

extern const Operation attention_operation;
const Operation attention_operation = {"attention", check, scratch_bytes, run, false};

}  // namespace mbok
