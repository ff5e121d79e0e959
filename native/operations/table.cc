#include "operations/table.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace mbok {
namespace {

constexpr int64_t kMostKernels = 8;
constexpr int kSOut = 1, kMarks = 3;  // after `boolean`

int64_t count_bits(uint64_t word) { return __builtin_popcountll(word); }

}  // namespace

void expect_table(const Call& call, const TablePlaces& at, const char* name) {
  const bool dense = call.has_input(at.weights), boolean = call.has_input(at.boolean);
  expect(call, dense || boolean, "a table has dense rows, rows of kernels, or both");
  if (dense) expect_weights(call, at.weights, at.scales, name);
  const bool marked = call.has_input(at.boolean + kMarks);
  expect(call, marked == (dense && boolean), "a table has marks if and only if it has rows of both classes");
  if (!boolean) return;
  expect(call, call.has_input(at.boolean + kSOut) && call.has_input(at.boolean + kSOut + 1),
         "kernels come with their scales");
  const BooleanLayer layer = expect_boolean_layer(call, at.boolean, true);
  expect(call, layer.kernels <= kMostKernels, "a table has at most 8 kernels");
  if (!dense) return;
  const Tensor& weights = call.input(at.weights);
  expect(call, weights.rows % kPanelCols == 0, "the dense rows beside kernels must be a multiple of 64");
  expect(call, weights.cols == layer.n, "rows of both classes must have the same columns");
  expect_tensor(call, call.input(at.boolean + kMarks), "marks", TensorType::kBits, 1, weights.rows + layer.m);
}

Table::Table(const Call& call, const TablePlaces& at) {
  if (call.has_input(at.weights)) dense_.emplace(call, at.weights, at.scales);
  if (call.has_input(at.boolean)) boolean_ = boolean_layer(call, at.boolean);
  if (dense_ && boolean_) marks_ = call.input(at.boolean + kMarks).bits();
}

TokenRows::TokenRows(const uint64_t* marks, int64_t tokens, int64_t dense_rows)
    : marks_(marks), dense_rows_(dense_rows) {
  if (marks == nullptr) return;
  const int64_t words = words_per_row(tokens);
  before_.resize(static_cast<size_t>(words));
  int64_t count = 0;
  for (int64_t word = 0; word < words; ++word) {
    before_[static_cast<size_t>(word)] = static_cast<int32_t>(count);
    // bits beyond the last token come from files, so they may be set
    const int64_t inside = std::min<int64_t>(64, tokens - word * 64);
    count += count_bits(marks[word] << (64 - inside));
  }
  if (count != dense_rows)
    throw Error("MBOK_FORMAT", "a table marks " + std::to_string(count) + " tokens, but stores " +
                                   std::to_string(dense_rows) + " rows for them");
}

int64_t TokenRows::marked_before(int64_t token) const {
  const uint64_t earlier = (uint64_t{1} << token % 64) - 1;
  return before_[static_cast<size_t>(token / 64)] + count_bits(marks_[token / 64] & earlier);
}

int64_t TokenRows::row(int64_t token) const {
  if (marks_ == nullptr) return token;
  const int64_t before = marked_before(token);
  return (marks_[token / 64] >> token % 64 & 1) != 0 ? before : dense_rows_ + token - before;
}

void TokenRows::map(int32_t* tokens, int64_t count) const {
  if (marks_ == nullptr) return;
  for (int64_t i = 0; i < count; ++i)
    if (tokens[i] >= 0) tokens[i] = static_cast<int32_t>(row(tokens[i]));
}

std::vector<int32_t> tokens_of_rows(const Table& table) {
  if (table.marks() == nullptr) return {};
  const TokenRows rows = table.token_rows();
  std::vector<int32_t> tokens(static_cast<size_t>(table.rows()));
  for (int32_t token = 0; token < table.rows(); ++token) tokens[static_cast<size_t>(rows.row(token))] = token;
  return tokens;
}

TableRows::TableRows(const Table& table, float* scratch) : table_(table) {
  if (!table.boolean()) return;
  panel_ = boolean_panel_f32_table.best();
  untile_ = untile_bits_table.best();
  const BooleanLayer& w = *table.boolean();
  float* to = scratch;
  for (int64_t col = 0; col < w.n; col += kPanelCols)
    for (int64_t k = 0; k < w.kernels; ++k, to += kPanelCols) {
      const int64_t count = std::min(kPanelCols, w.n - col);
      std::memcpy(to, w.s_in + k * w.n + col, static_cast<size_t>(count) * sizeof(float));
      std::fill(to + count, to + kPanelCols, 0.0f);
    }
  across_ = scratch;
}

int64_t TableRows::scratch_floats(const Table& table) {
  return table.boolean() ? table.boolean()->words() * table.boolean()->kernels * kPanelCols : 0;
}

void TableRows::widen(int64_t row, float* to) const {
  if (row < table_.dense_rows())
    table_.dense()->widen(row, 0, table_.cols(), to);
  else
    rebuild(row - table_.dense_rows(), to);
}

// A row is a panel of depth 1 along s_out.
void TableRows::rebuild(int64_t row, float* to) const {
  const BooleanLayer& w = *table_.boolean();
  uint64_t words[kMostKernels * kTileRows];
  alignas(64) float panel[kPanelCols];
  BooleanPanel source = {};
  source.kernels = w.kernels;
  source.depth = 1;
  source.along = w.s_out + row;
  source.along_stride = w.m;
  source.across = across_;
  for (int64_t word = 0; word < w.words(); ++word, source.across += w.kernels * kPanelCols) {
    if (w.tiles != nullptr) {
      for (int64_t k = 0; k < w.kernels; ++k) untile_(w.block(k, row, word), kTileRows, words + k * kTileRows, 1);
      source.signs = words + row % kTileRows;
      source.kernel_stride = kTileRows;
    } else {
      source.signs = w.row(0, row) + word;
      source.kernel_stride = w.m * w.words();
    }
    panel_(source, panel);
    const int64_t col = word * kPanelCols;
    std::memcpy(to + col, panel, static_cast<size_t>(std::min(kPanelCols, w.n - col)) * sizeof(float));
  }
}

TableOperand::TableOperand(const Table& table, bool transposed, Precision precision, const int32_t* order)
    : dense_rows_(table.dense_rows()), transposed_(transposed), precision_(precision) {
  if (table.dense()) dense_.emplace(*table.dense(), transposed, precision, order);
  if (table.boolean()) boolean_.emplace(*table.boolean(), transposed ? Depth::kRows : Depth::kColumns, precision);
}

size_t TableOperand::scratch_bytes() const {
  return std::max(dense_ ? dense_->scratch_bytes() : 0, boolean_ ? boolean_->scratch_bytes() : 0);
}

void TableOperand::pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
                        std::byte* scratch) const {
  if (!boolean_) return dense_->pack(col, cols, depth_begin, depth, panel, scratch);
  if (!transposed_) {
    if (col < dense_rows_) return dense_->pack(col, cols, depth_begin, depth, panel, scratch);
    return boolean_->pack(col - dense_rows_, cols, depth_begin, depth, panel, scratch);
  }
  // the depth, whose parts begin at multiples of 64, runs through both classes
  const int64_t dense = std::min(depth, std::max<int64_t>(0, dense_rows_ - depth_begin));
  const int64_t step = precision_ == Precision::kBf16 ? 2 : 1;
  if (dense > 0) dense_->pack(col, cols, depth_begin, dense, panel, scratch);
  if (dense < depth)
    boolean_->pack(col, cols, depth_begin + dense - dense_rows_, depth - dense,
                   static_cast<float*>(panel) + dense / step * kPanelCols, scratch);
}

}  // namespace mbok
