// A model's head and the loss of its logits in one, chunk by chunk of rows: logits of all rows never exist. Over a
// vocabulary of 49152, 2048 rows of two models' logits would be 800 MB; two chunks are 128 MB.
//
//   x [R,h], w [V,h] (any type of weights.h), scales? [V,1], seed? [1,1], then one of
//     targets i32 [R,1] (−1: not counted)       loss = mean over counted rows of −log softmax(z)[target]
//     x' [R,h'], w' [V,h'], scales'? [V,1]      loss = mean over rows of KL(softmax(z') ‖ softmax(z))
//     kept f32 [R,k+1], ids i32 [R,k]           the same with what is kept of softmax(z') (row_loss.h)
//   → loss [1,1], values? [R,1] (of every row, 0 where not counted), dx? [R,h], += dw? [V,h]
//   z = c·tanh(x·wᵀ / c); attributes: precision, c of the student, c of the teacher (0: none)
//
// dx and dw are those of seed · loss and need the seed: the gradient is formed while the logits are at hand, for forming
// them again would cost as much as the head itself.
#include <algorithm>
#include <cstring>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/kl_divergence/kl_divergence.h"
#include "kernels/softcap/softcap.h"
#include "operations/linear_product.h"
#include "operations/row_loss.h"
#include "operations/scratch.h"
#include "operations/token_ids.h"
#include "operations/weights.h"

namespace mbok {
namespace {

enum Input { kX, kW, kScales, kSeed, kTargets, kTeacherX, kTeacherW, kTeacherScales, kKept, kKeptIds };
enum Output { kLoss, kValues, kDx, kDw };

constexpr int64_t kLogits = 1 << 24;  // of one chunk: 64 MB
constexpr int64_t kRowMultiple = 48;  // whole register tiles, and rows of a chunk begin at whole cache lines
// A panel of the weights is packed for so many rows at least, whatever that takes: over a vocabulary of 262144 400 MB. With 192
// a matrix unit waits longer for the weights of both products than it multiplies.
constexpr int64_t kLeastRows = 384;

int64_t most_rows(const Call& call) {
  const int64_t most = std::max(kLeastRows, kLogits / call.input(kW).rows / kRowMultiple * kRowMultiple);
  return std::min(call.input(kX).rows, most);
}

// Chunks of equal size but for the last.
int64_t chunk_rows(const Call& call) {
  const int64_t rows = call.input(kX).rows, most = most_rows(call);
  const int64_t chunks = (rows + most - 1) / most;
  const int64_t even = ((rows + chunks - 1) / chunks + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  return std::min(rows, even);
}

bool differentiates(const Call& call) { return call.has_output(kDx) || call.has_output(kDw); }

Tensor as_column(const Tensor& ids) { return {ids.data, ids.size(), 1, ids.type}; }

// As though the chunk were a tensor of its own.
Tensor rows_of(const Tensor& tensor, int64_t first, int64_t count) {
  return {tensor.f32() + first * tensor.cols, count, tensor.cols, tensor.type};
}

ProductShape weight_gradient_shape(const Call& call, int64_t rows) {
  const int64_t h = call.input(kX).cols, vocabulary = call.input(kW).rows;
  return {vocabulary, h, rows, vocabulary, h, h, true, true, true};
}

int64_t whole_lines(int64_t floats) { return (floats + 15) / 16 * 16; }

struct Pieces {
  // `chunk`: rows at once. More rows or a larger chunk never take less: what suffices for the most suffices for any run.
  Pieces(const Call& call, int64_t chunk, int threads, std::byte* base) {
    Scratch scratch(base);
    const int64_t vocabulary = call.input(kW).rows;
    values = scratch.take<double>(call.input(kX).rows);
    logits = scratch.take<float>(chunk * vocabulary);
    if (call.has_input(kTeacherX)) teacher = scratch.take<float>(chunk * vocabulary);
    if (call.has_input(kTargets))
      targets = scratch.take<std::byte>(static_cast<int64_t>(ids_bytes(call.input(kTargets))));
    if (call.has_input(kKept)) {
      kept_ids = scratch.take<std::byte>(static_cast<int64_t>(ids_bytes(as_column(call.input(kKeptIds)))));
      kept = whole_lines(call.input(kKeptIds).cols);
    }
    share = kept + (call.attribute(1) > 0 && differentiates(call) ? whole_lines(vocabulary) : 0);
    of_workers = scratch.take<float>(share * threads);
    size_t most = 0;
    const auto need = [&](size_t bytes) { most = std::max(most, bytes); };
    const Precision precision = precision_attribute(call, 0);
    const Tensor z = {nullptr, chunk, vocabulary, TensorType::kF32};
    const auto forward = [&](int x, int w, int scales) {
      const PanelProduct p = rows_product({nullptr, chunk, call.input(x).cols, TensorType::kF32}, z, nullptr, precision);
      need(panel_product_scratch(p, WeightOperand(Weights(call, w, scales), false, precision), threads));
    };
    forward(kX, kW, kScales);
    if (call.has_input(kTeacherX)) forward(kTeacherX, kTeacherW, kTeacherScales);
    if (call.has_output(kDx)) {
      const PanelProduct p =
          rows_product(z, {nullptr, chunk, call.input(kX).cols, TensorType::kF32}, nullptr, precision);
      need(panel_product_scratch(p, WeightOperand(Weights(call, kW, kScales), true, precision), threads));
    }
    if (call.has_output(kDw)) need(product_scratch(weight_gradient_shape(call, chunk), precision, threads));
    product = scratch.take<std::byte>(static_cast<int64_t>(most));
    bytes = scratch.used();
  }

  double* values;  // [R]
  float* logits;   // [chunk, V], then their gradient
  float* teacher = nullptr;
  std::byte* targets = nullptr;
  std::byte* kept_ids = nullptr;
  float* of_workers;   // of each: `kept` floats for kept_divergence, then a row of logits before their cap
  int64_t kept = 0, share = 0;
  std::byte* product;
  size_t bytes;
};

void expect_head(const Call& call, int x, int w, int scales) {
  const Tensor &states = call.input(x), &weights = call.input(w);
  expect_weights(call, w, scales, "w");
  expect_tensor(call, states, "x", TensorType::kF32, call.input(kX).rows, weights.cols);
  expect(call, weights.rows == call.input(kW).rows, "both heads must have the same vocabulary");
}

void check(const Call& call) {
  expect_counts_between(call, 2, 10, 1, 4, 3);
  const Tensor &x = call.input(kX), &w = call.input(kW);
  const int64_t rows = x.rows;
  expect_head(call, kX, kW, kScales);
  expect(call, w.rows >= 1 && x.cols >= 1, "'w' must have a row and a column");
  expect(call, call.has_input(kTargets) + call.has_input(kTeacherX) + call.has_input(kKept) == 1,
         "takes either targets, a teacher's states, or what is kept of its logits");
  if (call.has_input(kTargets)) expect_tensor(call, call.input(kTargets), "targets", TensorType::kI32, rows, 1);
  if (call.has_input(kTeacherX)) {
    expect(call, call.has_input(kTeacherW), "the teacher's states come with its head");
    expect_head(call, kTeacherX, kTeacherW, kTeacherScales);
  }
  if (call.has_input(kKept)) {
    const int64_t count = call.input(kKeptIds).cols;
    expect(call, call.has_input(kKeptIds) && count < w.rows, "fewer tokens must be kept than there are");
    expect_tensor(call, call.input(kKept), "kept", TensorType::kF32, rows, count + 1);
    expect_tensor(call, call.input(kKeptIds), "ids", TensorType::kI32, rows, count);
  }
  expect_tensor(call, call.output(kLoss), "loss", TensorType::kF32, 1, 1);
  if (call.has_output(kValues)) expect_tensor(call, call.output(kValues), "values", TensorType::kF32, rows, 1);
  if (call.has_output(kDx)) expect_tensor(call, call.output(kDx), "dx", TensorType::kF32, rows, x.cols);
  if (call.has_output(kDw)) expect_tensor(call, call.output(kDw), "dw", TensorType::kF32, w.rows, w.cols);
  if (differentiates(call)) expect_tensor(call, call.input(kSeed), "seed", TensorType::kF32, 1, 1);
  expect(call, call.attribute(1) >= 0 && call.attribute(2) >= 0, "a cap must not be negative");
}

size_t scratch_bytes(const Call& call, int threads) { return Pieces(call, most_rows(call), threads, nullptr).bytes; }

// The loss of row `row` of the run, whose logits lie at `logits`; with a gradient they become factor times it.
class RowJudge {
 public:
  RowJudge(const Call& call, const Pieces& pieces) : call_(call), pieces_(pieces), cols_(call.input(kW).rows) {
    if (call.has_input(kTargets)) targets_ = checked_ids(call.input(kTargets), cols_, -1, pieces.targets);
    if (call.has_input(kKept)) {
      const Tensor& ids = call.input(kKeptIds);
      kept_ = {checked_ids(as_column(ids), cols_, 0, pieces.kept_ids), call.input(kKept).f32(), ids.cols};
    }
    for (int64_t r = 0; r < call.input(kX).rows; ++r) counted_ += counts(r);
    if (differentiates(call)) factor_ = call.input(kSeed).f32()[0] / static_cast<float>(std::max<int64_t>(1, counted_));
  }

  bool counts(int64_t row) const { return targets_ == nullptr || targets_[row] >= 0; }
  int64_t counted() const { return counted_; }

  double operator()(int64_t row, float* logits, float* teacher, int worker) const {
    const bool gradient = differentiates(call_);
    const float cap = static_cast<float>(call_.attribute(1)), teacher_cap = static_cast<float>(call_.attribute(2));
    float* const own = pieces_.of_workers + worker * pieces_.share;
    float* const uncapped = own + pieces_.kept;  // there is none without a cap
    if (!counts(row)) {
      if (gradient) std::memset(logits, 0, static_cast<size_t>(cols_) * sizeof(float));
      return 0;
    }
    if (cap > 0) {
      if (gradient) std::memcpy(uncapped, logits, static_cast<size_t>(cols_) * sizeof(float));
      softcap_table.best()(cap, logits, logits, cols_);
    }
    if (teacher != nullptr && teacher_cap > 0) softcap_table.best()(teacher_cap, teacher, teacher, cols_);
    const double loss = judge(row, logits, teacher, gradient, own);
    if (gradient && cap > 0) softcap_gradient_table.best()(cap, logits, uncapped, logits, cols_);
    return loss;
  }

 private:
  double judge(int64_t row, float* logits, const float* teacher, bool gradient, float* own) const {
    if (targets_ != nullptr) {
      const SoftmaxSum of = softmax_sum_table.best()(logits, cols_);
      const double loss = cross_entropy_of(of, logits[targets_[row]]);
      if (gradient) cross_entropy_gradient_table.best()(logits, cols_, targets_[row], of, factor_, logits);
      return loss;
    }
    if (teacher == nullptr) return kept_divergence(kept_, row, logits, cols_, gradient, factor_, own);
    const Divergence of = kl_divergence_table.best()(logits, teacher, cols_);
    if (gradient) kl_divergence_gradient_table.best()(logits, teacher, cols_, of, factor_, logits);
    return of.value;
  }

  const Call& call_;
  const Pieces& pieces_;
  const int64_t cols_;
  const int32_t* targets_ = nullptr;
  KeptTokens kept_ = {};
  int64_t counted_ = 0;
  float factor_ = 0;
};

void multiply(const Call& call, const Tensor& a, int w, int scales, bool transposed, const Tensor& c,
              std::byte* scratch) {
  const PanelProduct p = rows_product(a, c, nullptr, precision_attribute(call, 0));
  panel_product(*call.pool, p, WeightOperand(Weights(call, w, scales), transposed, p.precision), scratch);
}

void run(const Call& call) {
  const int64_t rows = call.input(kX).rows, vocabulary = call.input(kW).rows, chunk = chunk_rows(call);
  const Pieces pieces(call, chunk, call.pool->threads(), call.scratch);
  const RowJudge judge(call, pieces);
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = std::min(chunk, rows - first);
    const Tensor x = rows_of(call.input(kX), first, count);
    const Tensor z = {pieces.logits, count, vocabulary, TensorType::kF32};
    multiply(call, x, kW, kScales, false, z, pieces.product);
    if (pieces.teacher != nullptr)
      multiply(call, rows_of(call.input(kTeacherX), first, count), kTeacherW, kTeacherScales, false,
               {pieces.teacher, count, vocabulary, TensorType::kF32}, pieces.product);
    call.pool->parallel_for(count, [&](int64_t r, int worker) {
      float* const teacher = pieces.teacher == nullptr ? nullptr : pieces.teacher + r * vocabulary;
      pieces.values[first + r] = judge(first + r, pieces.logits + r * vocabulary, teacher, worker);
    });
    if (call.has_output(kDx))
      multiply(call, z, kW, kScales, true, rows_of(call.output(kDx), first, count), pieces.product);
    if (call.has_output(kDw))
      product(*call.pool, z.f32(), x.f32(), call.output(kDw).f32(), weight_gradient_shape(call, count),
              precision_attribute(call, 0), pieces.product);
  }
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    sum += pieces.values[r];
    if (call.has_output(kValues)) call.output(kValues).f32()[r] = static_cast<float>(pieces.values[r]);
  }
  call.output(kLoss).f32()[0] =
      judge.counted() > 0 ? static_cast<float>(sum / static_cast<double>(judge.counted())) : 0;
}

}  // namespace

extern const Operation head_loss_operation;
const Operation head_loss_operation = {"head_loss", check, scratch_bytes, run, false};

}  // namespace mbok
