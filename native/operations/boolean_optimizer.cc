#include "operations/boolean_optimizer.h"

#include <cmath>

#include "kernels/half/half.h"
#include "kernels/signal_update/signal_update.h"
#include "operations/scale_gradients.h"

namespace mbok {
namespace {

// Indices into the state.
enum { kBeta = 0, kMoved = 1, kRunningMagnitude = 2, kRunningSteps = 3, kGatheredMagnitude = 4 };
constexpr int64_t kStateSize = 8;

constexpr int64_t kChunkCols = 512;  // columns of an accumulator row processed at once, in f32 on the stack
constexpr int64_t kPrefetchRows = 8;

struct Parts {
  Parts(const BooleanUpdate& u, const TileGrid& grid, Scratch& scratch)
      : gradients(u.layer, grid, differentiates(u), scratch),
        statistics(u.normalizer, u.layer.m, u.layer.n, scales_of(u), grid, scratch),
        row_factors(scratch.take<float>(u.layer.m)),
        column_factors(scratch.take<float>(u.layer.n)),
        moves(scratch.take<int64_t>(grid.rows * grid.cols)) {}

  static bool differentiates(const BooleanUpdate& u) { return u.ds_out != nullptr || u.ds_in != nullptr; }
  static SignalScales scales_of(const BooleanUpdate& u) {
    if (u.signal_tiles) return {nullptr, nullptr};
    const int64_t last = u.layer.kernels - 1;
    return {u.layer.s_out + last * u.layer.m, u.layer.s_in + last * u.layer.n};
  }

  ScaleGradients gradients;
  SignalStatistics statistics;
  float* row_factors;     // [m]: M += G ⊙ (row column ᵀ)
  float* column_factors;  // [n]
  int64_t* moves;         // [tiles]
};

// One pass over the tiles. The flags select what it does.
class UpdateSink final : public TileSink {
 public:
  UpdateSink(const BooleanUpdate& update, const TileGrid& grid, const Parts& parts)
      : update_(update), grid_(grid), parts_(parts) {}

  bool differentiate = false;  // scale gradients
  bool gather = false;         // statistics
  bool accumulate = false;
  bool move = false;  // after accumulating
  float beta = 1;

  void consume(const Tile& tile, int) override {
    if (differentiate) parts_.gradients.consume(tile);  // before any bit changes
    if (gather) parts_.statistics.consume(tile);
    if (accumulate) update(tile);
  }

 private:
  void update(const Tile& tile) {
    const Tensor& accumulator = update_.accumulator;
    const bool f16 = accumulator.type == TensorType::kF16;
    WidenFunction* const widen = (f16 ? f16_widen_table : bf16_widen_table).best();
    NarrowFunction* const narrow = (f16 ? f16_narrow_table : bf16_narrow_table).best();
    AccumulateFunction* const add = accumulate_table.best();
    const size_t item = row_bytes(accumulator.type, 1);
    int64_t moves = 0;
    for (int64_t r = 0; r < tile.rows; ++r) {
      const int64_t i = tile.row + r;
      prefetch(tile, r + kPrefetchRows);
      for (int64_t c = 0; c < tile.cols; c += kChunkCols) {
        const int64_t j = tile.col + c, cols = tile.cols - c < kChunkCols ? tile.cols - c : kChunkCols;
        auto* const stored =
            static_cast<std::byte*>(accumulator.data) + static_cast<size_t>(i * update_.layer.n + j) * item;
        alignas(64) float wide[kChunkCols];
        const bool in_place = accumulator.type == TensorType::kF32;
        float* const m = in_place ? reinterpret_cast<float*>(stored) : wide;
        if (!in_place) widen(reinterpret_cast<const uint16_t*>(stored), m, cols);
        add(m, tile.data + r * tile.stride + c, beta, parts_.row_factors[i], parts_.column_factors + j, cols);
        if (move) moves += move_row(m, i, j, cols);
        if (!in_place) narrow(m, reinterpret_cast<uint16_t*>(stored), cols);
      }
    }
    parts_.moves[tile.row / grid_.tile_rows * grid_.cols + tile.col / grid_.tile_cols] = moves;
  }

  int64_t move_row(float* m, int64_t i, int64_t j, int64_t cols) const {
    const BooleanLayer& layer = update_.layer;
    const int64_t last = layer.kernels - 1;
    // without scales K is 1, and a neighbor move is a flip
    if (update_.rule == BooleanRule::kLastKernel || layer.s_out == nullptr)
      return flip_table.best()(m, layer.row(last, i) + j / 64, update_.retained, cols);
    float s_out[kMaxMoveKernels];
    for (int64_t k = 0; k <= last; ++k) s_out[k] = layer.s_out[k * layer.m + i];
    const MoveRow row = {layer.row(0, i) + j / 64,       layer.m * layer.words(), s_out, layer.s_in + j, layer.n,
                         static_cast<int>(layer.kernels)};
    return move_table.best()(m, row, update_.retained, cols);
  }

  // Rows of a narrow tile are too far apart for the hardware prefetcher.
  void prefetch(const Tile& tile, int64_t r) const {
    if (r >= tile.rows || tile.cols > kChunkCols) return;
    const Tensor& accumulator = update_.accumulator;
    const size_t item = row_bytes(accumulator.type, 1), n = static_cast<size_t>(update_.layer.n);
    const auto* line = static_cast<const std::byte*>(accumulator.data) +
                       (static_cast<size_t>(tile.row + r) * n + static_cast<size_t>(tile.col)) * item;
    for (size_t offset = 0; offset < static_cast<size_t>(tile.cols) * item; offset += 64)
      __builtin_prefetch(line + offset, 1);
    if (move) __builtin_prefetch(update_.layer.row(update_.layer.kernels - 1, tile.row + r) + tile.col / 64, 1);
  }

  const BooleanUpdate& update_;
  const TileGrid& grid_;
  const Parts& parts_;
};

double inverse_or_zero(double x) { return x > 0 && std::isfinite(x) ? 1 / x : 0; }

// Computes the factors of M += G ⊙ (row columnᵀ): η, the normalizer, the scales that turn G into Q, and for neighbor
// moves the sign of ŝ. `own`: normalize by the statistics just gathered instead of the running ones.
void prepare_factors(const BooleanUpdate& u, const Parts& parts, bool own, const Scalars& scalars) {
  const BooleanLayer& layer = u.layer;
  const int64_t last = layer.kernels - 1;
  const bool signs = u.rule == BooleanRule::kNeighborMoves && layer.s_out != nullptr;
  const auto scale = [&](const float* scales, int64_t size, int64_t i) {
    if (scales == nullptr) return 1.0;
    const double s = scales[last * size + i];
    const double sign = signs && s < 0 ? -1.0 : 1.0;
    return u.signal_tiles ? sign : sign * s;
  };
  double factor = scalars.flip_rate * u.rate;
  // own statistics are those of a micro-batch; second moments of the sum are `micro_batches` times as large
  if (own && u.normalizer != Normalizer::kNone) factor /= std::sqrt(scalars.micro_batches);
  const float* rows = nullptr;
  const float* columns = nullptr;
  if (u.normalizer == Normalizer::kMean)
    factor *= inverse_or_zero(own ? parts.statistics.magnitude() : u.state.f32()[kRunningMagnitude]);
  if (u.normalizer == Normalizer::kFactored) {
    rows = own ? parts.statistics.row_squares() : u.row_statistics.f32();
    columns = own ? parts.statistics.column_squares() : u.column_statistics.f32();
    double sum = 0;
    for (int64_t i = 0; i < layer.m; ++i) sum += rows[i];
    factor *= std::sqrt(sum / static_cast<double>(layer.m));
  }
  for (int64_t i = 0; i < layer.m; ++i)
    parts.row_factors[i] = static_cast<float>(factor * scale(layer.s_out, layer.m, i) *
                                              (rows == nullptr ? 1.0 : inverse_or_zero(std::sqrt(rows[i]))));
  for (int64_t j = 0; j < layer.n; ++j)
    parts.column_factors[j] = static_cast<float>(scale(layer.s_in, layer.n, j) *
                                                 (columns == nullptr ? 1.0 : inverse_or_zero(std::sqrt(columns[j]))));
}

// Updates a statistics tensor: row 0 is the running mean, row 1 the sum over the step's micro-batches so far.
void gather_means(const Tensor& statistics, const float* own, bool first, bool last, double decay, bool started) {
  float* const running = statistics.f32();
  float* const gathered = running + statistics.cols;
  for (int64_t i = 0; i < statistics.cols; ++i) {
    const float sum = (first ? 0.0f : gathered[i]) + own[i];
    gathered[i] = last ? 0.0f : sum;
    if (last) running[i] = started ? static_cast<float>(decay * running[i] + (1 - decay) * sum) : sum;
  }
}

void update_running_statistics(const BooleanUpdate& u, const SignalStatistics& own, const Scalars& scalars) {
  float* const state = u.state.f32();
  const bool first = scalars.first != 0, last = scalars.last != 0, started = state[kRunningSteps] > 0;
  if (u.normalizer == Normalizer::kFactored) {
    gather_means(u.row_statistics, own.row_squares(), first, last, u.decay, started);
    gather_means(u.column_statistics, own.column_squares(), first, last, u.decay, started);
  } else {
    const double sum = (first ? 0.0 : state[kGatheredMagnitude]) + own.magnitude();
    state[kGatheredMagnitude] = last ? 0.0f : static_cast<float>(sum);
    // the mean over A micro-batches is sum / A, that of their sum is √A times as large
    const double step = sum / std::sqrt(scalars.micro_batches);
    if (last)
      state[kRunningMagnitude] =
          static_cast<float>(started ? u.decay * state[kRunningMagnitude] + (1 - u.decay) * step : step);
  }
  if (last) state[kRunningSteps] += 1;
}

}  // namespace

void read_boolean_rule(const Call& call, int first, BooleanUpdate& update) {
  const int64_t rule = call.integer(first), normalizer = call.integer(first + 1);
  update.decay = call.attribute(first + 2);
  update.retained = static_cast<float>(call.attribute(first + 3));
  update.rate = call.attribute(first + 4);
  expect(call, rule >= 0 && rule <= 1, "the rule must be 0 (last kernel) or 1 (neighbor moves)");
  expect(call, normalizer >= 0 && normalizer <= 2, "the normalizer must be 0 (none), 1 (mean) or 2 (factored)");
  expect(call, update.decay >= 0 && update.decay < 1, "the decay must lie in [0, 1)");
  expect(call, update.retained >= 0 && update.retained < 1, "the retained evidence must lie in [0, 1)");
  expect(call, update.rate >= 0 && std::isfinite(update.rate), "the rate must be finite and not negative");
  update.rule = static_cast<BooleanRule>(rule);
  update.normalizer = static_cast<Normalizer>(normalizer);
}

void check_boolean_update(const Call& call, const BooleanUpdate& u) {
  const BooleanLayer& layer = u.layer;
  expect(call, layer.kernels >= 1, "'kernels' must have a multiple of m rows");
  expect(call, u.rule == BooleanRule::kLastKernel || layer.kernels <= kMaxMoveKernels,
         "neighbor moves take at most 8 kernels");
  const TensorType type = u.accumulator.type;
  expect(call, type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBf16,
         "'accumulator' must be f16, bf16 or f32");
  expect_tensor(call, u.accumulator, "accumulator", type, layer.m, layer.n);
  const bool optional = u.normalizer != Normalizer::kFactored || u.decay == 0;
  expect_tensor(call, u.row_statistics, "row_statistics", TensorType::kF32, 2, layer.m, optional);
  expect_tensor(call, u.column_statistics, "column_statistics", TensorType::kF32, 2, layer.n, optional);
  expect_tensor(call, u.state, "state", TensorType::kF32, 1, kStateSize);
}

size_t boolean_update_scratch(const BooleanUpdate& update, const TileGrid& grid) {
  Scratch scratch(nullptr);
  const Parts parts(update, grid, scratch);
  return scratch.used();
}

void run_boolean_update(ThreadPool& pool, const BooleanUpdate& u, TileSource& source, const Scalars& scalars,
                        std::byte* scratch) {
  const TileGrid grid = source.grid();
  Scratch pieces(scratch);
  Parts parts(u, grid, pieces);
  float* const state = u.state.f32();
  const bool normalized = u.normalizer != Normalizer::kNone;
  const bool running = normalized && u.decay > 0;
  const bool own = normalized && (!running || state[kRunningSteps] == 0);
  if (own) {
    UpdateSink look(u, grid, parts);
    look.gather = true;
    source.feed(pool, look);
    parts.statistics.finish(pool);
  }
  prepare_factors(u, parts, own, scalars);

  UpdateSink sink(u, grid, parts);
  sink.differentiate = Parts::differentiates(u);
  sink.gather = running && !own;
  sink.accumulate = true;
  sink.move = scalars.last != 0;
  sink.beta = scalars.first != 0 ? state[kBeta] : 1.0f;
  source.feed(pool, sink);

  parts.gradients.add_to(pool, u.ds_out, u.ds_in);
  if (sink.gather) parts.statistics.finish(pool);
  if (running) update_running_statistics(u, parts.statistics, scalars);
  if (!sink.move) return;
  int64_t moves = 0;
  for (int64_t t = 0; t < grid.rows * grid.cols; ++t) moves += parts.moves[t];
  state[kMoved] = static_cast<float>(moves);
  state[kBeta] = static_cast<float>(1 - static_cast<double>(moves) / static_cast<double>(u.layer.m * u.layer.n));
}

}  // namespace mbok
