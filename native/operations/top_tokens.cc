// What is kept of a teacher's predictions: of every row of logits the `k` likeliest tokens with the logarithms of their
// probabilities, rounded to f16 as they are stored, then the logarithm of what is left for all others.
//   logits [R,V] → kept [R,k+1], ids f32 [R,k] (whole numbers), error [R,1]; attribute: k
// error is KL(softmax(logits) ‖ what is kept, the rest spread evenly over the other tokens).
#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/half/half.h"
#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kRun = 64;      // tokens that are looked at together: nearly all runs have none of the likeliest
constexpr float kNever = -60000;  // the logarithm of nothing, within f16

void check(const Call& call) {
  expect_counts(call, 1, 3, 1);
  const Tensor& logits = call.input(0);
  const int64_t k = call.integer(0);
  expect_tensor(call, logits, "logits", TensorType::kF32, logits.rows, logits.cols);
  expect(call, k >= 1 && k < logits.cols && logits.cols < (1 << 24), "k must be from 1 to less than the vocabulary");
  expect_tensor(call, call.output(0), "kept", TensorType::kF32, logits.rows, k + 1);
  expect_tensor(call, call.output(1), "ids", TensorType::kF32, logits.rows, k);
  expect_tensor(call, call.output(2), "error", TensorType::kF32, logits.rows, 1);
}

struct Candidate {
  float value;
  int32_t id;
  // likelier first; of equals the one that comes first
  bool operator<(const Candidate& other) const {
    return value > other.value || (value == other.value && id < other.id);
  }
};

// f16 numbers of one row, then the candidates.
size_t share(int64_t k) {
  return align_up(static_cast<size_t>(k + 1) * sizeof(uint16_t)) + align_up(static_cast<size_t>(k) * sizeof(Candidate));
}

size_t scratch_bytes(const Call& call, int threads) { return share(call.integer(0)) * static_cast<size_t>(threads); }

// Of the tokens from `begin` on those that are likelier than the least of a heap, which they drive out.
void keep_likelier(const float* logits, int64_t begin, int64_t end, Candidate* best, int64_t k) {
  for (int64_t j = begin; j < end; ++j) {
    // of equals the earlier stays
    if (!(logits[j] > best[0].value)) continue;
    std::pop_heap(best, best + k);
    best[k - 1] = {logits[j], static_cast<int32_t>(j)};
    std::push_heap(best, best + k);
  }
}

double keep(const float* logits, int64_t cols, int64_t k, float* kept, float* ids, std::byte* scratch) {
  auto* const half = reinterpret_cast<uint16_t*>(scratch);
  auto* const best = reinterpret_cast<Candidate*>(scratch + align_up(static_cast<size_t>(k + 1) * sizeof(uint16_t)));
  for (int64_t j = 0; j < k; ++j) best[j] = {logits[j], static_cast<int32_t>(j)};
  std::make_heap(best, best + k);  // the least likely on top
  for (int64_t j = k; j < cols; j += kRun) {
    const int64_t end = std::min(cols, j + kRun);
    bool any = false;
    for (int64_t i = j; i < end; ++i) any |= logits[i] > best[0].value;
    if (any) keep_likelier(logits, j, end, best, k);
  }
  std::sort_heap(best, best + k);
  const auto [all, expected] = log_probabilities_table.best()(logits, cols);
  double mass = 0;
  for (int64_t i = 0; i < k; ++i) {
    ids[i] = static_cast<float>(best[i].id);
    kept[i] = std::max(kNever, static_cast<float>(best[i].value - all));
    mass += std::exp(best[i].value - all);
  }
  const double left = std::max(0.0, 1 - mass);
  kept[k] = left > 0 ? std::max(kNever, static_cast<float>(std::log(left))) : kNever;
  f16_narrow_table.best()(kept, half, k + 1);
  f16_widen_table.best()(half, kept, k + 1);
  double cross = left * (kept[k] - std::log(static_cast<double>(cols - k)));
  for (int64_t i = 0; i < k; ++i) cross += std::exp(best[i].value - all) * kept[i];
  return expected - cross;
}

void run(const Call& call) {
  const Tensor& logits = call.input(0);
  const int64_t k = call.integer(0), cols = logits.cols;
  call.pool->parallel_for(logits.rows, [&](int64_t r, int worker) {
    call.output(2).f32()[r] =
        static_cast<float>(keep(logits.f32() + r * cols, cols, k, call.output(0).f32() + r * (k + 1),
                                call.output(1).f32() + r * k, call.scratch + static_cast<size_t>(worker) * share(k)));
  });
}

}  // namespace

extern const Operation top_tokens_operation;
const Operation top_tokens_operation = {"top_tokens", check, scratch_bytes, run, false};

}  // namespace mbok
