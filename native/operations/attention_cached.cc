// Attention of R new rows to all earlier rows of their sequences. It writes their keys and values into the cache, as
// f32 or rounded to f16, then all rows attend to it. Attributes: head dimension d, scale, window, softcap, capacity.
//
// Without the optional inputs the rows are one sequence at positions scalars.position…, which uses the whole cache.
// With them, i32 [R, 1] each, every row has a slot and a position: the cache consists of slots of `capacity` rows, one
// sequence each. The layout of a slot is [head][position][d], so that a query reads one stream. Interleaved heads would
// put the positions of a head a multiple of 4 KiB apart in a wide model, into the same few cache sets.
//
// One task per head and block of queries, so that decoding one token uses all threads. A block is a run of rows at
// consecutive positions of one slot.
#include <cstring>
#include <string>

#include "kernels/attention/attention.h"
#include "kernels/half/half.h"
#include "operations/attention_shape.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

struct Block {
  int64_t row, count;  // of the run
  int64_t slot;
  int64_t position;  // of the first row in its slot
};

void* element(const Tensor& cache, int64_t i) {
  return static_cast<char*>(cache.data) + static_cast<size_t>(i) * row_bytes(cache.type, 1);
}

int64_t capacity_of(const Call& call) { return call.has_input(3) ? call.integer(4) : call.output(1).rows; }

bool halves(const Call& call) { return call.output(1).type == TensorType::kF16; }

void check(const Call& call) {
  expect_counts_between(call, 3, 5, 3, 3, 5);
  const AttentionShape s = attention_shape(call, call.input(0), call.input(1), call.input(2));
  const int64_t longest = call.output(1).rows;
  expect_tensor(call, call.output(0), "o", TensorType::kF32, s.rows, s.heads * s.d);
  const TensorType type = halves(call) ? TensorType::kF16 : TensorType::kF32;
  expect_tensor(call, call.output(1), "k_cache", type, longest, s.kv_heads * s.d);
  expect_tensor(call, call.output(2), "v_cache", type, longest, s.kv_heads * s.d);
  expect(call, call.has_input(3) == call.has_input(4), "slots and positions come together");
  const int64_t capacity = call.integer(4);
  if (!call.has_input(3)) {
    expect(call, capacity == 0, "without slots the whole cache is one sequence's");
    return;
  }
  expect(call, capacity > 0 && longest % capacity == 0, "the capacity must divide the rows of the cache");
  expect_tensor(call, call.input(3), "slots", TensorType::kI32, s.rows, 1);
  expect_tensor(call, call.input(4), "positions", TensorType::kI32, s.rows, 1);
}

size_t block_bytes(const Call& call) { return align_up(static_cast<size_t>(call.input(0).rows) * sizeof(Block)); }

size_t scratch_bytes(const Call& call, int threads) {
  return block_bytes(call) +
         static_cast<size_t>(threads) * align_up(static_cast<size_t>(attention_scratch(call.integer(0))) * 4);
}

// Cuts the rows into blocks and returns their number. Throws Error MBOK_INVALID_ARGUMENT for positions outside the
// cache.
int64_t cut(const Call& call, int64_t rows, Block* blocks) {
  const int64_t capacity = capacity_of(call), longest = call.output(1).rows;
  const bool placed = call.has_input(3);
  const int64_t first = static_cast<int64_t>(call.scalars->position);
  int64_t count = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t slot = placed ? call.input(3).i32()[r] : 0;
    const int64_t position = placed ? call.input(4).i32()[r] : first + r;
    if (position < 0 || position >= capacity)
      throw Error("MBOK_INVALID_ARGUMENT", "position " + std::to_string(position) + " lies beyond the cache of " +
                                               std::to_string(capacity) + " rows");
    if (slot < 0 || slot >= longest / capacity)
      throw Error("MBOK_INVALID_ARGUMENT",
                  "slot " + std::to_string(slot) + " lies beyond the cache's " + std::to_string(longest / capacity));
    Block* last = count > 0 ? blocks + count - 1 : nullptr;
    if (last != nullptr && last->count < kAttentionQueries && last->slot == slot &&
        last->position + last->count == position) {
      ++last->count;
    } else {
      blocks[count++] = {r, 1, slot, position};
    }
  }
  return count;
}

// Writes the keys or values of all rows into the cache.
void write(const Call& call, int tensor, const AttentionShape& s, const Block* blocks, int64_t count) {
  const Tensor& cache = call.output(tensor);
  const int64_t capacity = capacity_of(call);
  const float* from = call.input(tensor).f32();
  for (int64_t b = 0; b < count; ++b)
    for (int64_t i = 0; i < blocks[b].count; ++i)
      for (int64_t head = 0; head < s.kv_heads; ++head) {
        const float* values = from + ((blocks[b].row + i) * s.kv_heads + head) * s.d;
        void* to = element(cache, ((blocks[b].slot * s.kv_heads + head) * capacity + blocks[b].position + i) * s.d);
        if (halves(call))
          f16_narrow_table.best()(values, static_cast<uint16_t*>(to), s.d);
        else
          std::memcpy(to, values, static_cast<size_t>(s.d) * sizeof(float));
      }
}

void run(const Call& call) {
  const AttentionShape s = attention_shape(call, call.input(0), call.input(1), call.input(2));
  const int64_t group = s.heads / s.kv_heads, q_stride = s.heads * s.d, capacity = capacity_of(call);
  Block* blocks = reinterpret_cast<Block*>(call.scratch);
  const int64_t count = cut(call, s.rows, blocks);
  for (int i = 1; i <= 2; ++i) write(call, i, s, blocks, count);

  std::byte* scratch = call.scratch + block_bytes(call);
  const size_t share = align_up(static_cast<size_t>(attention_scratch(s.d)) * 4);
  call.pool->parallel_for(s.heads * count, [&](int64_t task, int worker) {
    const Block& block = blocks[count - 1 - task / s.heads];  // the longest tasks of one sequence first
    const int64_t head = task % s.heads, at = block.row * q_stride + head * s.d;
    const int64_t kv = (block.slot * s.kv_heads + head / group) * capacity * s.d;
    AttentionBlock b;
    b.q = call.input(0).f32() + at;
    b.k = element(call.output(1), kv);
    b.v = element(call.output(2), kv);
    b.halves = halves(call);
    b.o = call.output(0).f32() + at;
    b.lse = nullptr;
    b.q_stride = b.o_stride = q_stride;
    b.k_stride = b.v_stride = s.d;
    b.lse_stride = 0;
    b.first = block.position;
    b.count = block.count;
    b.d = s.d;
    b.scale = s.scale;
    b.window = s.window;
    b.softcap = s.softcap;
    attention_table.best()(b, reinterpret_cast<float*>(scratch + static_cast<size_t>(worker) * share));
  });
}

}  // namespace

extern const Operation attention_cached_operation;
// The cache outlives the run, but rows beyond the caller's position are never read, so an aborted run leaves no damage.
const Operation attention_cached_operation = {"attention_cached", check, scratch_bytes, run, false};

}  // namespace mbok
