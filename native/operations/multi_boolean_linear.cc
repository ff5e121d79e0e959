// Y = X·Ŵᵀ + bias with Ŵ = Σ_k diag(s_out[k])·B[k]·diag(s_in[k]).
//   x [R,n], kernels bits [K·m,n] or tiles, s_out [K,m], s_in [K,n], bias? [1,m] → y [R,m]
//
//   method            rows   kernels   precision
//   boolean_lookup    few    tiles     inputs rounded to about 10 bits for bf16 and int8 on every CPU; f32 for f32
//   boolean_decode    few    bits      f32, whatever the attribute says
//   panel_product     more   any       Ŵ rebuilt panel by panel, as the attribute says
//
// Decode streams the bits. Prefill and training rebuild weights, at a cost that hardly grows with the number of
// kernels.
//
// `path_rows` replaces the number of rows where a run sets it: a row then has the same bits beside any number of others.
#include <algorithm>

#include "kernels/boolean_decode/boolean_decode.h"
#include "kernels/boolean_lookup/boolean_lookup.h"
#include "operations/boolean_operand.h"
#include "operations/decode_rows.h"
#include "operations/linear_product.h"
#include "operations/scratch.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts_between(call, 4, 5, 1, 1, 1);
  const BooleanLayer w = expect_boolean_layer(call, 1, true);
  const int64_t rows = call.input(0).rows;
  expect_tensor(call, call.input(0), "x", TensorType::kF32, rows, w.n);
  if (call.input_count > 4) expect_tensor(call, call.input(4), "bias", TensorType::kF32, 1, w.m, true);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, rows, w.m);
}

PanelProduct describe(const Call& call) {
  return rows_product(call.input(0), call.output(0), call.has_input(4) ? call.input(4).f32() : nullptr,
                      precision_attribute(call, 0, true));
}

// Returns the maximal rows that decode from bits. Decoding bits in rows costs rows · kernels; rebuilding costs little
// more for eight rows than for one.
int64_t most_rows(const Call& call, const BooleanLayer& w) {
  return w.tiles != nullptr ? most_decoded_rows(wanted_precision(call, 0), w.kernels)
                            : std::max<int64_t>(2, 6 / w.kernels);
}

// The operands that decode computes first: for tiles look-up tables and their scales, for bits in rows the scaled
// inputs [rows, kernels, 64·words].
struct DecodeInputs {
  DecodeInputs(const Call& call, const PanelProduct& p, const BooleanLayer& w, std::byte* base)
      : parts(wanted_precision(call, 0) == Precision::kF32 ? kMaxLookupParts : 1) {
    Scratch scratch(base);
    const int64_t blocks = std::min(p.m, most_rows(call, w)) * w.kernels * w.words();
    if (w.tiles != nullptr) {
      tables = scratch.take<uint8_t>(blocks * parts * kLookupBytes);
      scales = scratch.take<float>(blocks * parts);
    } else {
      scaled = scratch.take<float>(blocks * 64);
    }
    bytes = scratch.used();
  }

  int64_t parts;
  uint8_t* tables = nullptr;
  float *scales = nullptr, *scaled = nullptr;
  size_t bytes;
};

// Suffices for any number of rows up to the call's.
size_t scratch_bytes(const Call& call, int threads) {
  const PanelProduct p = describe(call);
  const BooleanLayer w = boolean_layer(call, 1);
  const size_t product = panel_product_scratch(p, BooleanOperand(w, Depth::kColumns, p.precision), threads);
  return std::max(product, DecodeInputs(call, p, w, nullptr).bytes);
}

// Tasks of 32 blocks take a microsecond each. Less than two tasks' work runs on the calling thread.
void make_tables(ThreadPool& pool, const PanelProduct& p, const BooleanLayer& w, const DecodeInputs& inputs) {
  constexpr int64_t kBlocks = 32;
  const int64_t words = w.words(), across = (words + kBlocks - 1) / kBlocks;
  LookupTablesFunction* const tabulate = lookup_tables_table.best();
  const auto make = [&](int64_t task, int) {
    const int64_t table = task / across, k = table % w.kernels, word = task % across * kBlocks;
    const int64_t at = table * inputs.parts * words + word, j = word * kLookupBlock;
    tabulate({p.a + table / w.kernels * w.n + j, w.s_in + k * w.n + j, std::min(w.n - j, kBlocks * kLookupBlock),
              inputs.parts, words},
             inputs.tables + at * kLookupBytes, inputs.scales + at);
  };
  const int64_t tasks = p.m * w.kernels * across;
  if (p.m * w.kernels * words * inputs.parts >= 2 * kBlocks) return pool.parallel_for(tasks, make);
  for (int64_t task = 0; task < tasks; ++task) make(task, 0);
}

void look_up(const Call& call, const PanelProduct& p, const BooleanLayer& w) {
  const DecodeInputs inputs(call, p, w, call.scratch);
  const int64_t blocks = inputs.parts * w.words();
  make_tables(*call.pool, p, w, inputs);
  BooleanLookupFunction* const kernel = boolean_lookup_table.best();
  // Every run of tiles starts without prefetch, so runs are long (one per thread for small layers) and few, but enough
  // that a disturbed thread delays little. Long runs are whole pairs of tiles, since some candidates read two at once.
  constexpr int64_t kRunBytes = 1 << 17, kRuns = 8, kPair = 2;
  const int64_t threads = call.pool->threads(), tiles = (w.m + kTileRows - 1) / kTileRows;
  const int64_t bytes = w.tile_bytes() * w.kernels * tiles;
  const int64_t runs = std::max(threads, std::min(kRuns, bytes / kRunBytes));
  const int64_t shortest = (tiles + runs - 1) / runs;
  const int64_t outputs = (shortest < 4 * kPair ? shortest : (shortest + 1) / kPair * kPair) * kTileRows;
  call.pool->parallel_for((w.m + outputs - 1) / outputs, [&](int64_t task, int) {
    const int64_t last = std::min(w.m, (task + 1) * outputs);
    // tiles stay in cache for all rows
    for (int64_t begin = task * outputs; begin < last; begin += kPair * kTileRows)
      for (int64_t r = 0; r < p.m; ++r) {
        const int64_t at = r * w.kernels * blocks;
        kernel({w.block(0, begin, 0), w.kernel_bytes(), w.words(), w.kernels, inputs.parts,
                inputs.tables + at * kLookupBytes, inputs.scales + at, w.s_out + begin, w.m,
                std::min(last - begin, kPair * kTileRows), p.bias != nullptr ? p.bias + begin : nullptr,
                p.c + r * w.m + begin});
      }
  });
}

void decode(const Call& call, const PanelProduct& p, const BooleanLayer& w) {
  const int64_t words = w.words(), padded = 64 * words;
  float* const scaled = DecodeInputs(call, p, w, call.scratch).scaled;
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
  const int64_t most = most_rows(call, w);
  if (path_rows(call, p.m) > most)
    return panel_product(*call.pool, p, BooleanOperand(w, Depth::kColumns, p.precision), call.scratch);
  PanelProduct some = p;
  for (int64_t r = 0; r < p.m; r += most) {
    some.m = std::min(most, p.m - r);
    some.a = p.a + r * w.n;
    some.c = p.c + r * w.m;
    w.tiles != nullptr ? look_up(call, some, w) : decode(call, some, w);
  }
}

}  // namespace

extern const Operation multi_boolean_linear_operation;
const Operation multi_boolean_linear_operation = {"multi_boolean_linear", check, scratch_bytes, run, false};

}  // namespace mbok
