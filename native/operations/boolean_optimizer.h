// One step of the Boolean optimizer for one layer, in this order: scale gradients with the current bits, statistics,
// M ← β·M + η·Q̂, flips or neighbor moves, β ← 1 − fraction moved. The rule is implemented only here. The operation
// multi_boolean_update feeds it the tiles of a product, boolean_update those of a dense signal.
//
// Instant statistics must be known before the first tile is consumed, so the source is fed twice. Running statistics
// need two passes in their first step only. With A micro-batches the statistics of the summed signal are estimated as A
// times a micro-batch's second moments (√A times its mean |Q|), as if micro-batches were independent.
#pragma once

#include "operations/boolean_layer.h"
#include "operations/signal_statistics.h"
#include "operations/tile_source.h"

namespace mbok {

enum class BooleanRule : int32_t { kLastKernel = 0, kNeighborMoves = 1 };

struct BooleanUpdate {
  BooleanLayer layer;  // its bits change
  bool signal_tiles;   // tiles hold Q of the last kernel, not G
  BooleanRule rule;
  Normalizer normalizer;
  double decay;    // 0: instant statistics
  float retained;  // evidence for the move back that remains after a move, of what it takes; in [0, 1)
  double rate;     // factor of the run's flip rate
  Tensor accumulator, row_statistics, column_statistics, state;
  float* ds_out;  // += [K, m], or null
  float* ds_in;   // += [K, n], or null
};

// Reads both operations' attributes from `first` on: rule, normalizer, decay, retained evidence, rate. Throws Error
// MBOK_SHAPE for invalid ones.
void read_boolean_rule(const Call& call, int first, BooleanUpdate& update);
// Checks types and shapes of accumulator, statistics and state.
void check_boolean_update(const Call& call, const BooleanUpdate& update);

size_t boolean_update_scratch(const BooleanUpdate& update, const TileGrid& grid);
void run_boolean_update(ThreadPool& pool, const BooleanUpdate& update, TileSource& source, const Scalars& scalars,
                        std::byte* scratch);

}  // namespace mbok
