// The `k` likeliest tokens of every row of a teacher's head, each with its log-probability rounded to f16 as stored.
// The last entry is the log of the probability of all other tokens.
//
//   x [R,h], w? [V,h], scales? [V,1], kernels?, s_out?, s_in?, marks? (from w on a table as in table.h) → kept [R,k+1],
//   ids f32 [R,k] (integers), error [R,1]; attributes: precision, c (0: none), k
//   z = c·tanh(x·wᵀ / c); error = KL(softmax(z) ‖ kept, the remainder spread evenly over the other tokens)
//
// Each tile of logits is summed and searched while it is in cache, so no logits are stored. Every worker holds for each
// row the k likeliest tokens that it has seen, and up to k candidates that were likelier than the least of these. At 2k
// it selects again, which takes a microsecond, about ten times per row. Only parts with a likelier token are searched:
// of random logits (k = 64, V = 262144) one in three.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/half/half.h"
#include "operations/logits.h"
#include "operations/table.h"

namespace mbok {
namespace {

enum Input { kX };
constexpr TablePlaces kTable = {1, 2, 3};
enum Output { kKept, kIds, kError };

constexpr int64_t kRun = 64;      // tokens tested together: nearly all runs contain none of the likeliest
constexpr float kNever = -60000;  // log of probability 0, within f16

void check(const Call& call) {
  expect_counts_between(call, 1, 7, 3, 3, 3);
  const Tensor& x = call.input(kX);
  const int64_t k = call.integer(2);
  expect_table(call, kTable, "w");
  const Table table(call, kTable);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, table.cols());
  expect(call, table.cols() >= 1 && k >= 1 && k < table.rows() && table.rows() < (1 << 24),
         "k must be from 1 to less than the vocabulary");
  expect_tensor(call, call.output(kKept), "kept", TensorType::kF32, x.rows, k + 1);
  expect_tensor(call, call.output(kIds), "ids", TensorType::kF32, x.rows, k);
  expect_tensor(call, call.output(kError), "error", TensorType::kF32, x.rows, 1);
  expect(call, call.attribute(1) >= 0, "the cap must not be negative");
}

struct Candidate {
  float value;
  int32_t id;
  // Likelier first, ties by id: a total order, so the result does not depend on which worker saw what.
  bool operator<(const Candidate& other) const {
    return value > other.value || (value == other.value && id < other.id);
  }
};
constexpr Candidate kNone = {-INFINITY, std::numeric_limits<int32_t>::max()};

// The candidates of one row that one worker has seen.
struct Found {
  Candidate least;  // candidates that are not likelier are none of the k likeliest
  int64_t count;
};

class Selection final : public LogitSink {
 public:
  // found: [R, workers], candidates: [R, workers, 2k]
  Selection(double cap, const LogitParts& parts, Found* found, Candidate* candidates, int64_t workers, int64_t k)
      : LogitSink(cap), parts_(parts), found_(found), candidates_(candidates), workers_(workers), k_(k) {}

  // Returns the k likeliest tokens of a row in order, after all of it has been seen.
  const Candidate* likeliest(int64_t row) const {
    Candidate *const begin = candidates_ + row * workers_ * 2 * k_, *end = begin;
    for (int64_t i = row * workers_; i < (row + 1) * workers_; ++i)
      end = std::copy_n(candidates_ + i * 2 * k_, found_[i].count, end);
    // a row of NaN has fewer
    while (end - begin < k_) *end++ = kNone;
    std::partial_sort(begin, begin + k_, end);
    return begin;
  }

 private:
  void see(int64_t row, int64_t col, const float* logits, int64_t cols, int worker) override {
    const int64_t at = row * workers_ + worker;
    Found& found = found_[at];
    if (!(parts_.add(row, col, logits, cols) >= found.least.value)) return;
    for (int64_t j = 0; j < cols; j += kRun) {
      const int64_t end = std::min(cols, j + kRun);
      bool any = false;
      for (int64_t i = j; i < end; ++i) any |= logits[i] >= found.least.value;
      for (int64_t i = j; any && i < end; ++i)
        keep({logits[i], static_cast<int32_t>(col + i)}, found, candidates_ + at * 2 * k_);
    }
  }

  void keep(const Candidate& candidate, Found& found, Candidate* candidates) const {
    if (!(candidate < found.least)) return;
    candidates[found.count++] = candidate;
    if (found.count < 2 * k_) return;
    std::nth_element(candidates, candidates + k_ - 1, candidates + found.count);
    found = {candidates[k_ - 1], k_};
  }

  const LogitParts& parts_;
  Found* found_;
  Candidate* candidates_;
  int64_t workers_, k_;
};

struct Pieces {
  Pieces(const Call& call, int threads, std::byte* base) {
    Scratch scratch(base);
    const int64_t rows = call.input(kX).rows, vocabulary = Table(call, kTable).rows(), k = call.integer(2);
    parts = LogitParts(scratch, rows, vocabulary, true);
    found = scratch.take<Found>(rows * threads);
    candidates = scratch.take<Candidate>(rows * threads * 2 * k);
    sums = scratch.take<float>(parts.scratch_floats() * threads);
    halves = scratch.take<uint16_t>((k + 1) * threads);
    Selection selection(0, parts, nullptr, nullptr, threads, k);
    product = scratch.take<std::byte>(
        static_cast<int64_t>(panel_product_scratch(describe(call, selection), operand(call), threads)));
    bytes = scratch.used();
  }

  static PanelProduct describe(const Call& call, LogitSink& sink) {
    const Tensor& x = call.input(kX);
    return logits_product(x, {nullptr, x.rows, Table(call, kTable).rows(), TensorType::kF32}, sink,
                          precision_attribute(call, 0));
  }
  static TableOperand operand(const Call& call) {
    return TableOperand(Table(call, kTable), false, precision_attribute(call, 0));
  }

  LogitParts parts;
  Found* found;
  Candidate* candidates;
  float* sums;       // per worker
  uint16_t* halves;  // per worker: k + 1
  std::byte* product;
  size_t bytes;
};

size_t scratch_bytes(const Call& call, int threads) { return Pieces(call, threads, nullptr).bytes; }

// best: the row's k likeliest; tokens: by row of the table, or empty; `of`: the softmax sum; `expected`: the row's Σ p
// log p. Returns the error.
double keep(const Candidate* best, int64_t k, const std::vector<int32_t>& tokens, int64_t vocabulary,
            const SoftmaxSum& of, double expected, float* kept, float* ids, uint16_t* halves) {
  const double all = log_sum(of);
  double mass = 0;
  for (int64_t i = 0; i < k; ++i) {
    // kNone must become a valid token too
    const int64_t row = std::min<int64_t>(best[i].id, vocabulary - 1);
    ids[i] = static_cast<float>(tokens.empty() ? row : tokens[static_cast<size_t>(row)]);
    kept[i] = std::max(kNever, static_cast<float>(best[i].value - all));
    mass += std::exp(best[i].value - all);
  }
  const double left = std::max(0.0, 1 - mass);
  kept[k] = left > 0 ? std::max(kNever, static_cast<float>(std::log(left))) : kNever;
  f16_narrow_table.best()(kept, halves, k + 1);
  f16_widen_table.best()(halves, kept, k + 1);
  double cross = left * (kept[k] - std::log(static_cast<double>(vocabulary - k)));
  for (int64_t i = 0; i < k; ++i) cross += std::exp(best[i].value - all) * kept[i];
  return expected - cross;
}

void run(const Call& call) {
  const int threads = call.pool->threads();
  const Pieces pieces(call, threads, call.scratch);
  const int64_t rows = call.input(kX).rows, vocabulary = Table(call, kTable).rows(), k = call.integer(2);
  std::fill_n(pieces.found, rows * threads, Found{kNone, 0});
  const std::vector<int32_t> tokens = tokens_of_rows(Table(call, kTable));
  Selection selection(call.attribute(1), pieces.parts, pieces.found, pieces.candidates, threads, k);
  panel_product(*call.pool, Pieces::describe(call, selection), Pieces::operand(call), pieces.product);
  call.pool->parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int worker) {
    float* const scratch = pieces.sums + worker * pieces.parts.scratch_floats();
    for (int64_t r = task * kRowsPerTask; r < std::min(rows, (task + 1) * kRowsPerTask); ++r) {
      const SoftmaxSum of = pieces.parts.sum(r, scratch);
      call.output(kError).f32()[r] =
          static_cast<float>(keep(selection.likeliest(r), k, tokens, vocabulary, of, pieces.parts.expected(r, of, scratch),
                                  call.output(kKept).f32() + r * (k + 1), call.output(kIds).f32() + r * k,
                                  pieces.halves + worker * (k + 1)));
    }
  });
}

}  // namespace

extern const Operation head_top_tokens_operation;
const Operation head_top_tokens_operation = {"head_top_tokens", check, scratch_bytes, run, false};

}  // namespace mbok
