// dq, dk and dv of attention, from its output and logsumexp. Attributes: head dimension d, scale, window, softcap,
// precision.
//
// dk and dv are sums over all later queries of all heads of a group. If sequences × key-value heads alone occupy many
// threads, a task is one of each and accumulates in place. Otherwise a task is one query head and a share of its blocks
// of queries, with sums in scratch that are then added in a fixed order. The last queries of a causal sequence see the
// most keys and cost the most, so a share pairs blocks from both ends.
#include <algorithm>
#include <cstring>

#include "kernels/attention/attention.h"
#include "operations/attention_bf16.h"
#include "operations/scratch.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

enum Input { kDo, kQ, kK, kV, kO, kLse };

void check(const Call& call) {
  expect_counts(call, 6, 3, 5);
  const AttentionShape s = attention_shape(call, call.input(kQ), call.input(kK), call.input(kV));
  const int64_t q_cols = s.heads * s.d, kv_cols = s.kv_heads * s.d;
  expect_tensor(call, call.input(kDo), "do", TensorType::kF32, s.rows, q_cols);
  expect_tensor(call, call.input(kO), "o", TensorType::kF32, s.rows, q_cols);
  expect_tensor(call, call.input(kLse), "lse", TensorType::kF32, s.rows, s.heads);
  expect_tensor(call, call.output(0), "dq", TensorType::kF32, s.rows, q_cols);
  expect_tensor(call, call.output(1), "dk", TensorType::kF32, s.rows, kv_cols);
  expect_tensor(call, call.output(2), "dv", TensorType::kF32, s.rows, kv_cols);
}

constexpr int64_t kRun = 16;        // floats added at once: one cache line, and a count that compilers vectorize
constexpr int64_t kEnough = 32;     // tasks that need no further splitting
constexpr int64_t kWanted = 64;     // tasks to split into otherwise
constexpr int64_t kSums = 1 << 23;  // maximal floats of dk in scratch, unless one share of every head needs more

// Returns the shares per head when there are `heads` heads in all sequences.
int64_t wanted_shares(int64_t heads, const AttentionShape& s) {
  const int64_t wanted = (kWanted + heads - 1) / heads, affordable = kSums / (s.rows * s.heads * s.d);
  return std::max<int64_t>(1, std::min(wanted, affordable));
}

// Splits the work by the shape alone.
struct Split {
  Split(const AttentionShape& s, int64_t length) : shape(s), length(length) {
    blocks = (length + kAttentionQueries - 1) / kAttentionQueries;
    sequences = s.rows / length;
    in_place = sequences * s.kv_heads >= kEnough;
    shares = in_place ? 1 : std::min(wanted_shares(sequences * s.heads, s), (blocks + 1) / 2);
  }

  int64_t tasks() const { return in_place ? sequences * shape.kv_heads : sequences * shape.heads * shares; }
  // Floats of dk (and as many of dv) that a task sums in scratch.
  int64_t sums() const { return in_place ? 0 : length * shape.d; }
  // Keys that share `share` of a head reaches: its last block is `share` blocks before the end.
  int64_t reach(int64_t share) const { return std::min(length, (blocks - share) * kAttentionQueries); }

  AttentionShape shape;
  int64_t length, blocks, sequences;
  bool in_place;
  int64_t shares;  // per head
};

struct Pieces {
  Pieces(const Call& call, const Split& split, int threads, Scratch scratch)
      : operands(split.shape, precision_attribute(call, 4), true, scratch) {
    const size_t worker = align_up(static_cast<size_t>(attention_gradient_scratch(split.shape.d)) * sizeof(float));
    worker_floats = static_cast<int64_t>(worker / sizeof(float));
    workers = scratch.take<float>(worker_floats * threads);
    sums = scratch.take<float>(2 * split.sums() * split.tasks());
  }
  AttentionBf16Operands operands;
  int64_t worker_floats;
  float* workers;
  float* sums;  // per task: dk, then dv
};

// An upper bound for every run. A single sequence has the most shares. Fewer rows have more shares, but no more floats
// than kSums in total or one share of all rows.
size_t scratch_bytes(const Call& call, int threads) {
  const AttentionShape s = attention_shape(call, call.input(kQ), call.input(kK), call.input(kV));
  const int64_t share = s.rows * s.heads * s.d, most = std::max(kSums, share);
  const int64_t sums = std::min(most, share * ((kWanted + s.heads - 1) / s.heads));
  const size_t worker = align_up(static_cast<size_t>(attention_gradient_scratch(s.d)) * sizeof(float));
  Scratch operands(nullptr);
  AttentionBf16Operands(s, precision_attribute(call, 4), true, operands);
  return operands.used() + worker * static_cast<size_t>(threads) +
         align_up(static_cast<size_t>(2 * sums) * sizeof(float));
}

AttentionGradientGroup group_of(const Call& call, const Split& split, int64_t sequence, int64_t kv_head, int64_t head) {
  const AttentionShape& s = split.shape;
  const int64_t q_stride = s.heads * s.d, kv_stride = s.kv_heads * s.d, row = sequence * split.length;
  const int64_t q = row * q_stride + head * s.d, kv = row * kv_stride + kv_head * s.d;
  AttentionGradientGroup g;
  g.q = call.input(kQ).f32() + q;
  g.k = call.input(kK).f32() + kv;
  g.v = call.input(kV).f32() + kv;
  g.o = call.input(kO).f32() + q;
  g.d_o = call.input(kDo).f32() + q;
  g.lse = call.input(kLse).f32() + row * s.heads + head;
  g.dq = call.output(0).f32() + q;
  g.dk = call.output(1).f32() + kv;
  g.dv = call.output(2).f32() + kv;
  g.q_stride = q_stride;
  g.kv_stride = g.dkv_stride = kv_stride;
  g.lse_stride = s.heads;
  g.first_query = 0;
  g.end_query = split.length;
  g.heads = 1;
  g.d = s.d;
  g.scale = s.scale;
  g.window = s.window;
  g.softcap = s.softcap;
  return g;
}

void run_in_place(const Call& call, const Split& split, const Pieces& pieces) {
  const int64_t kv_heads = split.shape.kv_heads, group = split.shape.heads / kv_heads;
  for (int output = 1; output < 3; ++output) std::memset(call.output(output).data, 0, call.output(output).bytes());
  call.pool->parallel_for(split.tasks(), [&](int64_t task, int worker) {
    const int64_t kv_head = task % kv_heads;
    AttentionGradientGroup g = group_of(call, split, task / kv_heads, kv_head, kv_head * group);
    g.heads = group;
    const AttentionBf16 bf16 = pieces.operands.at(task / kv_heads, kv_head);
    if (pieces.operands.used()) g.bf16 = &bf16;
    attention_gradient_table.best()(g, pieces.workers + worker * pieces.worker_floats);
  });
}

void run_share(const Call& call, const Split& split, const Pieces& pieces, int64_t task, int worker) {
  const int64_t share = task % split.shares, head = task / split.shares % split.shape.heads;
  const int64_t sequence = task / split.shares / split.shape.heads;
  AttentionGradientGroup g = group_of(call, split, sequence, head / (split.shape.heads / split.shape.kv_heads), head);
  g.dk = pieces.sums + 2 * task * split.sums();
  g.dv = g.dk + split.sums();
  g.dkv_stride = g.d;
  const AttentionBf16 bf16 = pieces.operands.at(sequence, head / (split.shape.heads / split.shape.kv_heads));
  if (pieces.operands.used()) g.bf16 = &bf16;
  const auto reached = static_cast<size_t>(split.reach(share) * g.d) * sizeof(float);
  std::memset(g.dk, 0, reached);
  std::memset(g.dv, 0, reached);
  const auto block = [&](int64_t index) {
    g.first_query = index * kAttentionQueries;
    g.end_query = std::min(split.length, g.first_query + kAttentionQueries);
    attention_gradient_table.best()(g, pieces.workers + worker * pieces.worker_floats);
  };
  for (int64_t low = share; 2 * low < split.blocks; low += split.shares) {
    block(low);
    if (split.blocks - 1 - low > low) block(split.blocks - 1 - low);
  }
}

// Sums dk and dv of one block of keys of one sequence and key-value head over the heads of its group and their shares.
void add_sums(const Call& call, const Split& split, const Pieces& pieces, int64_t task) {
  const AttentionShape& s = split.shape;
  const int64_t block = task % split.blocks, kv_head = task / split.blocks % s.kv_heads;
  const int64_t sequence = task / split.blocks / s.kv_heads, group = s.heads / s.kv_heads;
  const int64_t first = block * kAttentionQueries, end = std::min(split.length, first + kAttentionQueries);
  const int64_t stride = s.kv_heads * s.d, to = sequence * split.length * stride + kv_head * s.d;
  const int64_t shares = std::min(split.shares, split.blocks - block);  // shares that reach the block
  for (int output = 1; output < 3; ++output)
    for (int64_t row = first; row < end; ++row)
      for (int64_t c = 0; c < s.d; c += kRun) {
        const int64_t count = std::min(kRun, s.d - c);
        float sum[kRun] = {};
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
          for (int64_t share = 0; share < shares; ++share) {
            const int64_t source = (sequence * s.heads + head) * split.shares + share;
            const float* const part = pieces.sums + (2 * source + output - 1) * split.sums() + row * s.d + c;
            if (count == kRun)
              for (int64_t i = 0; i < kRun; ++i) sum[i] += part[i];
            else
              for (int64_t i = 0; i < count; ++i) sum[i] += part[i];
          }
        std::copy(sum, sum + count, call.output(output).f32() + to + row * stride + c);
      }
}

void run(const Call& call) {
  const AttentionShape s = attention_shape(call, call.input(kQ), call.input(kK), call.input(kV));
  const Split split(s, static_cast<int64_t>(call.scalars->sequence_length));
  Pieces pieces(call, split, call.pool->threads(), Scratch(call.scratch));
  pieces.operands.convert(*call.pool, call.input(kK), call.input(kV), split.length);
  if (split.in_place) return run_in_place(call, split, pieces);
  call.pool->parallel_for(split.tasks(),
                          [&](int64_t task, int worker) { run_share(call, split, pieces, task, worker); });
  call.pool->parallel_for(split.sequences * s.kv_heads * split.blocks,
                          [&](int64_t task, int) { add_sums(call, split, pieces, task); });
}

}  // namespace

extern const Operation attention_gradient_operation;
const Operation attention_gradient_operation = {"attention_gradient", check, scratch_bytes, run, false};

}  // namespace mbok
