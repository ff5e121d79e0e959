// A model's head and the log-likelihoods of target tokens, for evaluation. Every panel of the head is packed once and
// multiplied with all rows. Each tile of logits is reduced while it is in cache, so no logits are stored.
//
//   x [R,h], w? [V,h], targets i32 [R,1] (−1: not scored), scales? [V,1], kernels?, s_out?, s_in?, marks? (with w a table
//   as in table.h) → values [R,1], likeliest? [R,1]; attributes: precision, c (0: none)
//   z = c·tanh(x·wᵀ / c); values = −log softmax(z)[target]; likeliest = 1 if no token has a larger logit than the
//   target, else 0. Rows that are not scored have 0 and 1, and are not multiplied.
//
// Budget per logit: 2·h operations, about 20 vector operations per vector (maximum and exponential), and a share of
// packing the head. At h = 640 the last two are 3 % of the f32 product and a third of the AMX product.
#include <algorithm>
#include <cstring>
#include <vector>

#include "operations/logits.h"
#include "operations/table.h"
#include "operations/token_ids.h"

namespace mbok {
namespace {

constexpr int kTargets = 2;
constexpr TablePlaces kTable = {1, 3, 4};

void check(const Call& call) {
  expect_counts_between(call, 1, 8, 1, 2, 2);
  expect(call, call.has_input(kTargets), "takes targets");
  const Tensor& x = call.input(0);
  expect_table(call, kTable, "w");
  const Table table(call, kTable);
  expect(call, table.rows() >= 1 && table.cols() >= 1, "'w' must have a row and a column");
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, table.cols());
  expect_tensor(call, call.input(kTargets), "targets", TensorType::kI32, x.rows, 1);
  expect_tensor(call, call.output(0), "values", TensorType::kF32, x.rows, 1);
  if (call.has_output(1)) expect_tensor(call, call.output(1), "likeliest", TensorType::kF32, x.rows, 1);
  expect(call, call.attribute(1) >= 0, "the cap must not be negative");
}

// Returns the scored rows in order.
std::vector<int64_t> scored_rows(const int32_t* targets, int64_t rows) {
  std::vector<int64_t> scored;
  for (int64_t r = 0; r < rows; ++r)
    if (targets[r] >= 0) scored.push_back(r);
  return scored;
}

class Judge final : public LogitSink {
 public:
  // of_targets: [count], the targets' logits
  Judge(double cap, const int64_t* rows, const int32_t* targets, const LogitParts& parts, float* of_targets)
      : LogitSink(cap), rows_(rows), targets_(targets), parts_(parts), of_targets_(of_targets) {}

 private:
  void see(int64_t row, int64_t col, const float* logits, int64_t cols, int) override {
    parts_.add(row, col, logits, cols);
    const int64_t target = targets_[rows_[row]] - col;
    if (target >= 0 && target < cols) of_targets_[row] = logits[target];
  }

  const int64_t* rows_;
  const int32_t* targets_;
  const LogitParts& parts_;
  float* of_targets_;
};

struct Pieces {
  Pieces(const Call& call, int threads, std::byte* base) {
    Scratch scratch(base);
    const Tensor& x = call.input(0);
    const int64_t vocabulary = Table(call, kTable).rows();
    targets = scratch.take<std::byte>(static_cast<int64_t>(ids_bytes(call.input(kTargets))));
    states = scratch.take<float>(x.rows * x.cols);
    parts = LogitParts(scratch, x.rows, vocabulary, false);
    of_targets = scratch.take<float>(x.rows);
    of_workers = scratch.take<float>(parts.scratch_floats() * threads);
    Judge judge(0, nullptr, nullptr, parts, nullptr);
    const PanelProduct p = describe(call, states, x.rows, judge);
    product = scratch.take<std::byte>(static_cast<int64_t>(panel_product_scratch(p, operand(call), threads)));
    bytes = scratch.used();
  }

  static PanelProduct describe(const Call& call, float* states, int64_t rows, LogitSink& sink) {
    return logits_product({states, rows, call.input(0).cols, TensorType::kF32},
                          {nullptr, rows, Table(call, kTable).rows(), TensorType::kF32}, sink, precision_attribute(call, 0));
  }
  static TableOperand operand(const Call& call) {
    return TableOperand(Table(call, kTable), false, precision_attribute(call, 0));
  }

  std::byte* targets;
  float* states;  // [rows, h] of the scored rows
  LogitParts parts;
  float *of_targets, *of_workers;
  std::byte* product;
  size_t bytes;
};

size_t scratch_bytes(const Call& call, int threads) { return Pieces(call, threads, nullptr).bytes; }

void run(const Call& call) {
  const Pieces pieces(call, call.pool->threads(), call.scratch);
  const Tensor& x = call.input(0);
  const Table table(call, kTable);
  int32_t* const targets = reinterpret_cast<int32_t*>(pieces.targets);
  checked_ids(call.input(kTargets), table.rows(), -1, pieces.targets);
  table.token_rows().map(targets, x.rows);
  const std::vector<int64_t> scored = scored_rows(targets, x.rows);
  std::fill_n(call.output(0).f32(), x.rows, 0.0f);
  if (call.has_output(1)) std::fill_n(call.output(1).f32(), x.rows, 1.0f);
  const int64_t rows = static_cast<int64_t>(scored.size());
  for (int64_t r = 0; r < rows; ++r)
    std::memcpy(pieces.states + r * x.cols, x.f32() + scored[static_cast<size_t>(r)] * x.cols,
                static_cast<size_t>(x.cols) * sizeof(float));
  Judge judge(call.attribute(1), scored.data(), targets, pieces.parts, pieces.of_targets);
  panel_product(*call.pool, Pieces::describe(call, pieces.states, rows, judge), Pieces::operand(call), pieces.product);
  call.pool->parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int worker) {
    float* const scratch = pieces.of_workers + worker * pieces.parts.scratch_floats();
    for (int64_t r = task * kRowsPerTask; r < std::min(rows, (task + 1) * kRowsPerTask); ++r) {
      const SoftmaxSum of = pieces.parts.sum(r, scratch);
      const float target = pieces.of_targets[r];
      const int64_t row = scored[static_cast<size_t>(r)];
      call.output(0).f32()[row] = static_cast<float>(log_sum(of) - static_cast<double>(target));
      if (call.has_output(1)) call.output(1).f32()[row] = of.largest > target ? 0 : 1;
    }
  });
}

}  // namespace

extern const Operation head_likelihood_operation;
const Operation head_likelihood_operation = {"head_likelihood", check, scratch_bytes, run, false};

}  // namespace mbok
