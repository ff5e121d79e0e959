// A model's head and its loss in one operation, chunk by chunk of rows, so logits of all rows never exist. With a
// vocabulary of 49152, logits of 2048 rows of two models would take 800 MB; two chunks of 528 rows take 208 MB.
//
//   x [R,h], w? [V,h], scales? [V,1], seed? [1,1], then one of
//     targets i32 [R,1] (−1: not counted)       loss = mean over counted rows of −log softmax(z)[target]
//     x' [R,h'], w'? [V,h'], scales'? [V,1]     loss = mean over rows of KL(softmax(z') ‖ softmax(z))
//     kept f32 [R,k+1], ids i32 [R,k]           the same with a truncated softmax(z') (row_loss.h)
//   and last kernels?, s_out?, s_in?, marks? of w, then those of w' (each a table as in table.h)
//   → loss [1,1], values? [R,1] (per row, 0 if not counted), dx? [R,h], += dw?
//   z = c·tanh(x·wᵀ / c); attributes: precision, c of the student, c of the teacher (0: none)
//
// dx and dw are the gradients of seed · loss and need the seed. They are computed while the logits exist, because
// computing the logits again would cost as much as the head. dw is of the table's kernels, [B,h], or of w if there are
// none. Logits are in the order of the student's rows. If that is not the order of the tokens, w' must be dense.
//
// Memory traffic. A matrix unit multiplies a row by a column in the time that memory takes for four numbers, so a logit
// is written once and read once. Rows are summed while tiles are in cache. In bf16 the gradient is computed when its
// product reads it; until then logits without a cap are stored in 16 bits. If two products read the gradient, or in
// f32, it replaces the logits in memory.
#include <algorithm>

#include "operations/linear_product.h"
#include "operations/row_loss.h"
#include "operations/scratch.h"
#include "operations/table.h"
#include "operations/token_ids.h"

namespace mbok {
namespace {

enum Input { kX, kW, kScales, kSeed, kTargets, kTeacherX, kTeacherW, kTeacherScales, kKept, kKeptIds, kBoolean };
constexpr TablePlaces kTable = {kW, kScales, kBoolean}, kTeacherTable = {kTeacherW, kTeacherScales, kBoolean + 4};
enum Output { kLoss, kValues, kDx, kDw };

constexpr int64_t kLogits = 1 << 24;  // per chunk in f32: 64 MiB, unless kLeastRows needs more
constexpr int64_t kRowMultiple = 48;  // whole register tiles; a chunk's rows start at whole cache lines
// The minimal rows per packing of the weights, whatever memory that takes: 550 MB for a vocabulary of 262144. With 192
// rows a matrix unit waits longer for the weights of both products than it multiplies. In 16 bits the limit is twice as
// high.
constexpr int64_t kLeastRows = 528;
static_assert(kLeastRows % kRowMultiple == 0, "chunks of equal size are not larger than the most");

// Returns whether the gradient is stored for its product to read.
bool stores_gradient(const Call& call) {
  return call.has_output(kDw) || (call.has_output(kDx) && precision_attribute(call, 0) == Precision::kF32);
}

// Returns whether logits are stored in 16 bits until their gradient is computed.
bool halves(const Call& call) {
  return call.has_output(kDx) && !stores_gradient(call) && call.attribute(1) == 0 && call.attribute(2) == 0;
}

int64_t most_rows(const Call& call) {
  const int64_t at_once = halves(call) ? 2 : 1;
  const int64_t most = std::max(kLeastRows, kLogits / Table(call, kTable).rows() / kRowMultiple * kRowMultiple);
  return std::min(call.input(kX).rows, at_once * most);
}

// Returns the rows of a chunk. All chunks are equal except the last.
int64_t chunk_rows(const Call& call) {
  const int64_t rows = call.input(kX).rows, most = most_rows(call);
  const int64_t chunks = (rows + most - 1) / most;
  const int64_t even = ((rows + chunks - 1) / chunks + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  return std::min(rows, even);
}

bool differentiates(const Call& call) { return call.has_output(kDx) || call.has_output(kDw); }

Tensor as_column(const Tensor& ids) { return {ids.data, ids.size(), 1, ids.type}; }

// Returns a view of some rows as a tensor.
Tensor rows_of(const Tensor& tensor, int64_t first, int64_t count) {
  return {tensor.f32() + first * tensor.cols, count, tensor.cols, tensor.type};
}

// Returns the product of the gradient of the table's last rows: all that are trained.
ProductShape weight_gradient_shape(const Call& call, int64_t rows) {
  const int64_t h = call.input(kX).cols, vocabulary = Table(call, kTable).rows();
  return {call.output(kDw).rows, h, rows, vocabulary, h, h, true, true, true};
}

// Passes the logits of one side to the losses.
class LossSink final : public LogitSink {
 public:
  enum Side { kStudent, kTeacher };
  // halves: where logits are stored, or null
  LossSink(Side side, double cap, RowLosses& losses, const HalfLogits* halves)
      : LogitSink(cap), side_(side), losses_(losses), halves_(halves) {}

 private:
  void see(int64_t row, int64_t col, const float* logits, int64_t cols, int) override {
    const bool student = side_ == kStudent;
    student ? losses_.see(row, col, logits, cols) : losses_.see_teacher(row, col, logits, cols);
    if (halves_ == nullptr) return;
    halves_->put(row, col, logits, cols, student ? losses_.origin(row, col) : losses_.teacher_origin(row, col));
  }
  const Side side_;
  RowLosses& losses_;
  const HalfLogits* halves_;
};

// order: the token of every row of the student's table
TableOperand teacher_operand(const Call& call, Precision precision, const int32_t* order) {
  const bool ordered = Table(call, kTable).marks() != nullptr;
  return TableOperand(Table(call, kTeacherTable), false, precision, ordered ? order : nullptr);
}

struct Pieces {
  // `chunk`: rows per chunk. Scratch grows with rows and chunk, so the maximum suffices for every run.
  Pieces(const Call& call, int64_t chunk, int threads, std::byte* base) {
    Scratch scratch(base);
    const Table table(call, kTable);
    const int64_t vocabulary = table.rows();
    values = scratch.take<double>(call.input(kX).rows);
    in_halves = halves(call);
    has_teacher = call.has_input(kTeacherX);
    if (in_halves) {
      half_logits = HalfLogits(scratch, chunk, vocabulary);
      if (has_teacher) half_teacher = HalfLogits(scratch, chunk, vocabulary);
    } else {
      logits = scratch.take<float>(chunk * vocabulary);
      if (has_teacher) teacher = scratch.take<float>(chunk * vocabulary);
    }
    Judge judge = {};
    judge.teacher = has_teacher;
    judge.cap = call.attribute(1);
    judge.teacher_cap = call.attribute(2);
    const auto checked = [&](const Tensor& ids, int64_t smallest) {
      auto* const copy = scratch.take<std::byte>(static_cast<int64_t>(ids_bytes(ids)));
      if (base == nullptr) return static_cast<const int32_t*>(nullptr);
      checked_ids(ids, vocabulary, smallest, copy);
      auto* const rows = reinterpret_cast<int32_t*>(copy);
      table.token_rows().map(rows, ids.rows);
      return static_cast<const int32_t*>(rows);
    };
    if (call.has_input(kTargets)) judge.targets = checked(call.input(kTargets), -1);
    if (call.has_input(kKept))
      judge.kept = {checked(as_column(call.input(kKeptIds)), 0), call.input(kKept).f32(), call.input(kKeptIds).cols};
    counted = call.input(kX).rows;
    if (judge.targets != nullptr) counted -= std::count(judge.targets, judge.targets + counted, -1);
    if (base != nullptr && differentiates(call))
      judge.factor = call.input(kSeed).f32()[0] / static_cast<float>(std::max<int64_t>(1, counted));
    losses = RowLosses(scratch, judge, chunk, vocabulary, threads);

    size_t most = 0;
    const auto need = [&](size_t bytes) { most = std::max(most, bytes); };
    const Precision precision = precision_attribute(call, 0);
    const Tensor z = {nullptr, chunk, vocabulary, TensorType::kF32};
    LossSink sink(LossSink::kStudent, 0, losses, nullptr);
    const auto forward = [&](int x, const TableOperand& operand) {
      const PanelProduct p = logits_product({nullptr, chunk, call.input(x).cols, TensorType::kF32}, z, sink, precision);
      need(panel_product_scratch(p, operand, threads));
    };
    forward(kX, TableOperand(table, false, precision));
    constexpr int32_t kSomeOrder = 0;
    if (has_teacher) forward(kTeacherX, teacher_operand(call, precision, &kSomeOrder));
    if (call.has_output(kDx)) {
      const PanelProduct p =
          rows_product(z, {nullptr, chunk, call.input(kX).cols, TensorType::kF32}, nullptr, precision);
      need(panel_product_scratch(p, TableOperand(table, true, precision), threads));
    }
    if (call.has_output(kDw)) need(product_scratch(weight_gradient_shape(call, chunk), precision, threads));
    product = scratch.take<std::byte>(static_cast<int64_t>(most));
    bytes = scratch.used();
  }

  double* values;  // [R]
  bool has_teacher, in_halves;
  HalfLogits half_logits, half_teacher;  // or
  float* logits = nullptr;               // [chunk, V]; then their gradient if it is stored
  float* teacher = nullptr;
  RowLosses losses;
  int64_t counted;  // rows
  std::byte* product;
  size_t bytes;
};

// Checks states and table of a head; returns the table.
Table expect_head(const Call& call, int x, const TablePlaces& at) {
  expect_table(call, at, "w");
  const Table table(call, at);
  expect_tensor(call, call.input(x), "x", TensorType::kF32, call.input(kX).rows, table.cols());
  return table;
}

void check(const Call& call) {
  expect_counts_between(call, 1, 18, 1, 4, 3);
  const Tensor& x = call.input(kX);
  const Table table = expect_head(call, kX, kTable);
  const int64_t rows = x.rows, vocabulary = table.rows();
  expect(call, vocabulary >= 1 && x.cols >= 1, "'w' must have a row and a column");
  expect(call, call.has_input(kTargets) + call.has_input(kTeacherX) + call.has_input(kKept) == 1,
         "takes either targets, a teacher's states, or what is kept of its logits");
  if (call.has_input(kTargets)) expect_tensor(call, call.input(kTargets), "targets", TensorType::kI32, rows, 1);
  if (call.has_input(kTeacherX)) {
    const Table teacher = expect_head(call, kTeacherX, kTeacherTable);
    expect(call, teacher.rows() == vocabulary, "both heads must have the same vocabulary");
    expect(call, teacher.marks() == nullptr && (table.marks() == nullptr || !teacher.boolean()),
           "the teacher's rows must be in the order of the tokens, and dense if the student's are not");
  }
  if (call.has_input(kKept)) {
    const int64_t count = call.input(kKeptIds).cols;
    expect(call, call.has_input(kKeptIds) && count < vocabulary, "fewer tokens must be kept than there are");
    expect_tensor(call, call.input(kKept), "kept", TensorType::kF32, rows, count + 1);
    expect_tensor(call, call.input(kKeptIds), "ids", TensorType::kI32, rows, count);
  }
  expect_tensor(call, call.output(kLoss), "loss", TensorType::kF32, 1, 1);
  if (call.has_output(kValues)) expect_tensor(call, call.output(kValues), "values", TensorType::kF32, rows, 1);
  if (call.has_output(kDx)) {
    expect_tensor(call, call.output(kDx), "dx", TensorType::kF32, rows, x.cols);
    expect(call, !table.boolean() || table.boolean()->tiles == nullptr, "gradients need kernels in rows");
  }
  if (call.has_output(kDw)) {
    const int64_t trained = table.boolean() ? table.boolean_rows() : vocabulary;
    expect_tensor(call, call.output(kDw), "dw", TensorType::kF32, trained, x.cols);
  }
  if (differentiates(call)) expect_tensor(call, call.input(kSeed), "seed", TensorType::kF32, 1, 1);
  expect(call, call.attribute(1) >= 0 && call.attribute(2) >= 0, "a cap must not be negative");
}

size_t scratch_bytes(const Call& call, int threads) { return Pieces(call, most_rows(call), threads, nullptr).bytes; }

// Computes a chunk's gradient piece by piece from its logits.
class Gradient final : public RowSource {
 public:
  Gradient(Pieces& pieces, int64_t vocabulary) : pieces_(pieces), vocabulary_(vocabulary) {}

  void make(int64_t row, int64_t begin, int64_t count, float* to) const override {
    if (pieces_.in_halves) return make_of_halves(row, begin, count, to);
    const int64_t at = row * vocabulary_ + begin;
    const float* const teacher = pieces_.teacher == nullptr ? nullptr : pieces_.teacher + at;
    pieces_.losses.gradient(row, begin, count, {pieces_.logits + at, 0}, {teacher, 0}, to);
  }

  // Replaces the logits of a row by their gradient.
  void store(int64_t row) const {
    for (int64_t col = 0; col < vocabulary_; col += kMostMade)
      make(row, col, std::min(kMostMade, vocabulary_ - col), pieces_.logits + row * vocabulary_ + col);
  }

 private:
  // Part by part, because every part's distances have their own origin.
  void make_of_halves(int64_t row, int64_t begin, int64_t count, float* to) const {
    alignas(64) float numbers[kLogitPart], of_teacher[kLogitPart];
    RowLosses& losses = pieces_.losses;
    for (int64_t col = begin, end; col < begin + count; col = end) {
      end = std::min(begin + count, (col / kLogitPart + 1) * kLogitPart);
      pieces_.half_logits.get(row, col, end - col, numbers);
      LogitPiece teacher = {nullptr, 0};
      if (pieces_.has_teacher) {
        pieces_.half_teacher.get(row, col, end - col, of_teacher);
        teacher = {of_teacher, losses.teacher_origin(row, col)};
      }
      losses.gradient(row, col, end - col, {numbers, losses.origin(row, col)}, teacher, to + col - begin);
    }
  }

  Pieces& pieces_;
  int64_t vocabulary_;
};

void run(const Call& call) {
  const Table table(call, kTable);
  const int64_t rows = call.input(kX).rows, vocabulary = table.rows(), chunk = chunk_rows(call);
  const std::vector<int32_t> order = tokens_of_rows(table);
  const Precision precision = precision_attribute(call, 0);
  Pieces pieces(call, chunk, call.pool->threads(), call.scratch);
  RowLosses& losses = pieces.losses;
  LossSink student(LossSink::kStudent, call.attribute(1), losses, pieces.in_halves ? &pieces.half_logits : nullptr);
  LossSink teacher(LossSink::kTeacher, call.attribute(2), losses, pieces.in_halves ? &pieces.half_teacher : nullptr);
  const Gradient gradient(pieces, vocabulary);
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = std::min(chunk, rows - first);
    const Tensor x = rows_of(call.input(kX), first, count);
    const Tensor z = {pieces.logits, count, vocabulary, TensorType::kF32};
    losses.begin(first, count);
    panel_product(*call.pool, logits_product(x, z, student, precision), TableOperand(table, false, precision),
                  pieces.product);
    if (pieces.has_teacher) {
      const Tensor of_teacher = {pieces.teacher, count, vocabulary, TensorType::kF32};
      panel_product(*call.pool,
                    logits_product(rows_of(call.input(kTeacherX), first, count), of_teacher, teacher, precision),
                    teacher_operand(call, precision, order.data()), pieces.product);
    }
    call.pool->parallel_for((count + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int worker) {
      for (int64_t r = task * kRowsPerTask; r < std::min(count, (task + 1) * kRowsPerTask); ++r)
        losses.conclude(r, worker);
    });
    // a teacher's divergence is summed while the gradient is computed
    const bool stores = stores_gradient(call) || (pieces.has_teacher && !differentiates(call));
    if (stores) call.pool->parallel_for(count, [&](int64_t r, int) { gradient.store(r); });
    if (call.has_output(kDx)) {
      PanelProduct p = rows_product(z, rows_of(call.output(kDx), first, count), nullptr, precision);
      if (!stores) p.source = &gradient;
      panel_product(*call.pool, p, TableOperand(table, true, precision), pieces.product);
    }
    if (call.has_output(kDw))
      product(*call.pool, z.f32() + vocabulary - call.output(kDw).rows, x.f32(), call.output(kDw).f32(),
              weight_gradient_shape(call, count), precision, pieces.product);
    for (int64_t r = 0; r < count; ++r) pieces.values[first + r] = losses.value(r);
  }
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    sum += pieces.values[r];
    if (call.has_output(kValues)) call.output(kValues).f32()[r] = static_cast<float>(pieces.values[r]);
  }
  call.output(kLoss).f32()[0] = pieces.counted > 0 ? static_cast<float>(sum / static_cast<double>(pieces.counted)) : 0;
}

}  // namespace

extern const Operation head_loss_operation;
const Operation head_loss_operation = {"head_loss", check, scratch_bytes, run, false};

}  // namespace mbok
