// A table with a row per token, for embedding and head, as stored: dense rows (any type of weights.h), rows of ±1
// kernels, or both. With both, `marks` has a bit per token that is set if its row is dense; dense rows come first, and
// either class has its rows in the order of the tokens.
//
//   weights? [F,h], scales? [F,1], kernels? bits [K·B,h] or tiles, s_out? [K,B], s_in? [K,h], marks? bits [1,F+B]
//
// F is a multiple of 64, so that no panel of a product contains rows of both classes.
#pragma once

#include <optional>
#include <vector>

#include "operations/boolean_operand.h"
#include "operations/weights.h"

namespace mbok {

// Indices of a table's inputs. `boolean`: the first of kernels, s_out, s_in and marks.
struct TablePlaces {
  int weights, scales, boolean;
};

// Checks types and shapes of a table's inputs. Throws Error MBOK_SHAPE.
void expect_table(const Call& call, const TablePlaces& at, const char* name);

// The stored rows of tokens. Throws Error MBOK_FORMAT if the marks do not number the dense rows.
class TokenRows {
 public:
  // marks: null if the row of a token is its id
  TokenRows(const uint64_t* marks, int64_t tokens, int64_t dense_rows);
  int64_t row(int64_t token) const;
  // Returns the number of dense rows of the tokens before `token`, which must be in the vocabulary.
  int64_t marked_before(int64_t token) const;
  // Replaces tokens by their rows; −1 stays.
  void map(int32_t* tokens, int64_t count) const;

 private:
  const uint64_t* marks_;
  int64_t dense_rows_;
  std::vector<int32_t> before_;  // marks before each word
};

class Table {
 public:
  Table(const Call& call, const TablePlaces& at);

  int64_t rows() const { return dense_rows() + boolean_rows(); }
  int64_t cols() const { return dense_ ? dense_->cols() : boolean_->n; }
  int64_t dense_rows() const { return dense_ ? dense_->rows() : 0; }
  int64_t boolean_rows() const { return boolean_ ? boolean_->m : 0; }
  const std::optional<Weights>& dense() const { return dense_; }
  const std::optional<BooleanLayer>& boolean() const { return boolean_; }
  const uint64_t* marks() const { return marks_; }  // null unless there are both classes
  TokenRows token_rows() const { return TokenRows(marks_, rows(), dense_rows()); }

 private:
  std::optional<Weights> dense_;
  std::optional<BooleanLayer> boolean_;
  const uint64_t* marks_ = nullptr;
};

// Returns the token of every row; empty if rows are in the order of the tokens. Throws as TokenRows does.
std::vector<int32_t> tokens_of_rows(const Table& table);

// Computes single rows in f32. Kernels give the bits that their panels have (boolean_panel.h).
class TableRows {
 public:
  // scratch: scratch_floats(), shared by all workers
  TableRows(const Table& table, float* scratch);
  static int64_t scratch_floats(const Table& table);
  void widen(int64_t row, float* to) const;

 private:
  void rebuild(int64_t row, float* to) const;

  Table table_;
  const float* across_ = nullptr;  // [words, K, 64]: s_in, padded with zeros
  BooleanPanelFunction* panel_ = nullptr;
  UntileBitsFunction* untile_ = nullptr;
};

// B of a product with the table's rows in stored order: transposed table ([h, rows], for logits) or, with `transposed`,
// the table itself.
class TableOperand final : public PanelOperand {
 public:
  // order: if not null, column i is row order[i]; for dense tables that are not transposed
  TableOperand(const Table& table, bool transposed, Precision precision, const int32_t* order = nullptr);
  void pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
            std::byte* scratch) const override;
  bool has_source() const override { return !dense_ && boolean_->has_source(); }
  BooleanPanels source(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth) const override {
    return boolean_->source(col, cols, depth_begin, depth);
  }
  size_t scratch_bytes() const override;

 private:
  int64_t dense_rows_;
  bool transposed_;
  Precision precision_;
  std::optional<WeightOperand> dense_;
  std::optional<BooleanOperand> boolean_;
};

}  // namespace mbok
