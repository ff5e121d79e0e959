// Computes a model's head and the log-likelihoods of target tokens, for evaluation. Every panel of the head is packed once and
// multiplied with all rows. Each tile of logits is reduced while it is in cache, so no logits are stored.
//
//   x [R,h], w [V,h] (any type of weights.h), targets i32 [R,1] (−1: not scored), scales? [V,1]
//   → values [R,1], likeliest? [R,1]; attributes: precision, c (0: none)
//   z = c·tanh(x·wᵀ / c); values = −log softmax(z)[target], likeliest = 1 where no token has a larger logit than the
//   target, else 0; of rows that are not scored 0 and 1
//
// A row's parts of kPart logits leave two numbers each (exp_sums): a 128th of the logits. Rows that are not scored are not
// multiplied. Budget, a logit: 2·h operations, about 20 vector operations a vector (maximum and exponential), and what packing
// the head takes, shared by all rows. With h = 640 that is 3 % beside f32 and a third of what tiles of AMX take.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/dense_product/dense_product.h"
#include "kernels/softcap/softcap.h"
#include "operations/linear_product.h"
#include "operations/scratch.h"
#include "operations/token_ids.h"
#include "operations/weights.h"

namespace mbok {
namespace {

constexpr int kW = 1, kTargets = 2, kScales = 3;
constexpr int64_t kPart = kMostSinkPanels * kPanelCols;  // columns of a tile
constexpr int64_t kRowsPerTask = 16;                     // whose parts share cache lines

int64_t parts_of(const Call& call) { return (call.input(kW).rows + kPart - 1) / kPart; }

void check(const Call& call) {
  expect_counts_between(call, 3, 4, 1, 2, 2);
  const Tensor &x = call.input(0), &w = call.input(kW);
  expect_weights(call, kW, kScales, "w");
  expect(call, w.rows >= 1 && w.cols >= 1, "'w' must have a row and a column");
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, w.cols);
  expect_tensor(call, call.input(kTargets), "targets", TensorType::kI32, x.rows, 1);
  expect_tensor(call, call.output(0), "values", TensorType::kF32, x.rows, 1);
  if (call.has_output(1)) expect_tensor(call, call.output(1), "likeliest", TensorType::kF32, x.rows, 1);
  expect(call, call.attribute(1) >= 0, "the cap must not be negative");
}

// The rows that are scored, in their order.
std::vector<int64_t> scored_rows(const int32_t* targets, int64_t rows) {
  std::vector<int64_t> scored;
  for (int64_t r = 0; r < rows; ++r)
    if (targets[r] >= 0) scored.push_back(r);
  return scored;
}

// What is left of the logits of some rows: element (row, part) at part · rows + row, as tiles are written.
struct Parts {
  float* largest;
  float* sums;
  float* of_targets;  // [rows], the targets' logits
};

class Judge final : public TileSink {
 public:
  Judge(const int64_t* rows, int64_t count, const int32_t* targets, float cap, const Parts& parts)
      : rows_(rows), count_(count), targets_(targets), cap_(cap), parts_(parts) {}

  void consume(const Tile& tile, int) override {
    alignas(64) float capped[kPart];
    float* const largest = parts_.largest + tile.col / kPart * count_ + tile.row;
    float* const sums = parts_.sums + tile.col / kPart * count_ + tile.row;
    if (cap_ == 0) exp_sums_table.best()({tile.data, tile.stride, tile.rows, tile.cols}, largest, sums);
    for (int64_t r = 0; r < tile.rows; ++r) {
      const float* logits = tile.data + r * tile.stride;
      if (cap_ > 0) {
        softcap_table.best()(cap_, logits, capped, tile.cols);
        exp_sums_table.best()({capped, kPart, 1, tile.cols}, largest + r, sums + r);
        logits = capped;
      }
      const int64_t target = targets_[rows_[tile.row + r]] - tile.col;
      if (target >= 0 && target < tile.cols) parts_.of_targets[tile.row + r] = logits[target];
    }
  }

 private:
  const int64_t* rows_;
  int64_t count_;
  const int32_t* targets_;
  float cap_;
  Parts parts_;
};

struct Pieces {
  Pieces(const Call& call, int threads, std::byte* base) {
    Scratch scratch(base);
    const int64_t hidden = call.input(0).cols, rows = call.input(0).rows, count = parts_of(call);
    targets = scratch.take<std::byte>(static_cast<int64_t>(ids_bytes(call.input(kTargets))));
    states = scratch.take<float>(rows * hidden);
    parts = {scratch.take<float>(rows * count), scratch.take<float>(rows * count), scratch.take<float>(rows)};
    of_workers = scratch.take<float>(2 * count * threads);
    Judge judge(nullptr, 0, nullptr, 0, parts);
    const PanelProduct p = describe(call, states, rows, judge);
    product = scratch.take<std::byte>(static_cast<int64_t>(panel_product_scratch(p, operand(call), threads)));
    bytes = scratch.used();
  }

  static PanelProduct describe(const Call& call, float* states, int64_t rows, TileSink& sink) {
    const Tensor z = {nullptr, rows, call.input(kW).rows, TensorType::kF32};
    PanelProduct p = rows_product({states, rows, call.input(0).cols, TensorType::kF32}, z, nullptr,
                                  precision_attribute(call, 0));
    p.sink = &sink;
    p.sink_panels = kMostSinkPanels;
    return p;
  }
  static WeightOperand operand(const Call& call) {
    return WeightOperand(Weights(call, kW, kScales), false, precision_attribute(call, 0));
  }

  std::byte* targets;
  float* states;      // [rows, h], those that are scored
  Parts parts;
  float* of_workers;  // of each: the parts of one row
  std::byte* product;
  size_t bytes;
};

size_t scratch_bytes(const Call& call, int threads) { return Pieces(call, threads, nullptr).bytes; }

// Of scored rows [begin, end).
void conclude(const Call& call, const Parts& parts, const std::vector<int64_t>& scored, int64_t begin, int64_t end,
              float* worker) {
  const int64_t count = parts_of(call), rows = static_cast<int64_t>(scored.size());
  float *const largest = worker, *const sums = worker + count;
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t i = 0; i < count; ++i) {
      largest[i] = parts.largest[i * rows + r];
      sums[i] = parts.sums[i * rows + r];
    }
    const float target = parts.of_targets[r];
    const double value = log_sum_of_parts_table.best()(largest, sums, count) - static_cast<double>(target);
    const int64_t row = scored[static_cast<size_t>(r)];
    call.output(0).f32()[row] = static_cast<float>(value);
    if (call.has_output(1))
      call.output(1).f32()[row] = std::none_of(largest, largest + count, [=](float z) { return z > target; });
  }
}

void run(const Call& call) {
  const Pieces pieces(call, call.pool->threads(), call.scratch);
  const Tensor& x = call.input(0);
  const int32_t* const targets = checked_ids(call.input(kTargets), call.input(kW).rows, -1, pieces.targets);
  const std::vector<int64_t> scored = scored_rows(targets, x.rows);
  std::fill_n(call.output(0).f32(), x.rows, 0.0f);
  if (call.has_output(1)) std::fill_n(call.output(1).f32(), x.rows, 1.0f);
  const int64_t rows = static_cast<int64_t>(scored.size());
  for (int64_t r = 0; r < rows; ++r)
    std::memcpy(pieces.states + r * x.cols, x.f32() + scored[static_cast<size_t>(r)] * x.cols,
                static_cast<size_t>(x.cols) * sizeof(float));
  Judge judge(scored.data(), rows, targets, static_cast<float>(call.attribute(1)), pieces.parts);
  panel_product(*call.pool, Pieces::describe(call, pieces.states, rows, judge), Pieces::operand(call), pieces.product);
  call.pool->parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int worker) {
    const int64_t begin = task * kRowsPerTask, end = std::min(rows, begin + kRowsPerTask);
    conclude(call, pieces.parts, scored, begin, end, pieces.of_workers + worker * 2 * parts_of(call));
  });
}

}  // namespace

extern const Operation head_likelihood_operation;
const Operation head_likelihood_operation = {"head_likelihood", check, scratch_bytes, run, false};

}  // namespace mbok
