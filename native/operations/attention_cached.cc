// Attention of R new rows of one sequence, at positions scalars.position…, to everything before them: their keys and
// values are written into the cache, then all rows attend to the cache. Attributes: head dimension d, scale, window, softcap.
// One task a head and block of queries, so that decoding one token is spread over the heads.
#include <cstring>
#include <string>

#include "kernels/attention/attention.h"
#include "operations/attention_shape.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 3, 3, 4);
  const AttentionShape s = attention_shape(call, call.input(0), call.input(1), call.input(2));
  const int64_t longest = call.output(1).rows;
  expect_tensor(call, call.output(0), "o", TensorType::kF32, s.rows, s.heads * s.d);
  expect_tensor(call, call.output(1), "k_cache", TensorType::kF32, longest, s.kv_heads * s.d);
  expect_tensor(call, call.output(2), "v_cache", TensorType::kF32, longest, s.kv_heads * s.d);
}

size_t scratch_bytes(const Call& call, int threads) {
  return static_cast<size_t>(threads) * align_up(static_cast<size_t>(attention_scratch(call.integer(0))) * 4);
}

void run(const Call& call) {
  const AttentionShape s = attention_shape(call, call.input(0), call.input(1), call.input(2));
  const int64_t position = static_cast<int64_t>(call.scalars->position), longest = call.output(1).rows;
  if (position + s.rows > longest)
    throw Error("MBOK_INVALID_ARGUMENT", "position " + std::to_string(position + s.rows - 1) +
                                             " lies beyond the cache of " + std::to_string(longest) + " rows");
  const int64_t group = s.heads / s.kv_heads, q_stride = s.heads * s.d, kv_stride = s.kv_heads * s.d;
  const size_t new_bytes = static_cast<size_t>(s.rows * kv_stride) * sizeof(float);
  for (int i = 1; i <= 2; ++i)
    std::memcpy(call.output(i).f32() + position * kv_stride, call.input(i).f32(), new_bytes);

  const int64_t blocks = (s.rows + kAttentionQueries - 1) / kAttentionQueries;
  const size_t share = align_up(static_cast<size_t>(attention_scratch(s.d)) * 4);
  call.pool->parallel_for(s.heads * blocks, [&](int64_t task, int worker) {
    const int64_t first = (blocks - 1 - task / s.heads) * kAttentionQueries;  // the longest tasks first
    const int64_t head = task % s.heads;
    AttentionBlock b;
    b.q = call.input(0).f32() + first * q_stride + head * s.d;
    b.k = call.output(1).f32() + head / group * s.d;
    b.v = call.output(2).f32() + head / group * s.d;
    b.o = call.output(0).f32() + first * q_stride + head * s.d;
    b.lse = nullptr;
    b.q_stride = b.o_stride = q_stride;
    b.k_stride = b.v_stride = kv_stride;
    b.lse_stride = 0;
    b.first = position + first;
    b.count = s.rows - first < kAttentionQueries ? s.rows - first : kAttentionQueries;
    b.d = s.d;
    b.scale = s.scale;
    b.window = s.window;
    b.softcap = s.softcap;
    attention_table.best()(b, reinterpret_cast<float*>(call.scratch + static_cast<size_t>(worker) * share));
  });
}

}  // namespace

extern const Operation attention_cached_operation;
// The cache outlives the run, but a row beyond the position that the caller counts is never read: nothing is half done.
const Operation attention_cached_operation = {"attention_cached", check, scratch_bytes, run, false};

}  // namespace mbok
