// The losses of rows of a student's logits against target tokens, another model's logits or a truncated distribution. A
// row is processed in parts, so it is never in cache as a whole. First come its logits, as tiles leave the product.
// When their sums are known, pieces of its gradient are computed.
#pragma once

#include <cmath>

#include "operations/logits.h"

namespace mbok {

// A distribution truncated by head_top_tokens: per row `count` tokens with their log-probabilities, then the log of the
// probability of all others.
struct KeptTokens {
  const int32_t* ids;       // [rows, count], checked, all different within a row
  const float* log_values;  // [rows, count + 1]
  int64_t count;            // less than the vocabulary
};

// One of three: targets, truncated distributions or a teacher's logits.
struct Judge {
  const int32_t* targets;  // [rows], −1: not counted; or null
  KeptTokens kept;         // of count 0 if there are none
  bool teacher;
  double cap, teacher_cap;
  float factor;  // of the gradient
};

// A piece of a row's logits: numbers[i] + from.
struct LogitPiece {
  const float* numbers;
  float from;
};

// The losses of a chunk of rows.
class RowLosses {
 public:
  RowLosses() = default;
  RowLosses(Scratch& scratch, const Judge& judge, int64_t rows, int64_t vocabulary, int threads);

  // Starts a chunk: rows [first, first + rows) of the judge. `row` below counts from `first`.
  void begin(int64_t first, int64_t rows);
  // Takes logits [col, col + cols) of a row, after their cap; col is a multiple of kLogitPart.
  void see(int64_t row, int64_t col, const float* logits, int64_t cols);
  void see_teacher(int64_t row, int64_t col, const float* logits, int64_t cols);
  // Returns an origin for storing logits of col's part as distances: the largest of the part, or 0 if there is none.
  float origin(int64_t row, int64_t col) const { return origin(parts_, row, col); }
  float teacher_origin(int64_t row, int64_t col) const { return origin(teacher_parts_, row, col); }
  // Finishes a row after all of its logits have been seen.
  void conclude(int64_t row, int worker);
  // to[0 … count) = factor · gradient with respect to logits [col, col + count) of a concluded row, count ≤ kMostMade.
  // With a cap, the student's and the teacher's logits are those before it, with from = 0. `to` may be the logits.
  void gradient(int64_t row, int64_t col, int64_t count, const LogitPiece& logits, const LogitPiece& teacher,
                float* to);
  // Returns the value of a concluded row; with a teacher, after the gradient of all of its logits has been computed.
  double value(int64_t row) const;

 private:
  struct Kept {
    int32_t id;
    float log_value, logit;
    float gradient;  // of a concluded row
  };
  struct Row {
    SoftmaxSum student, teacher;  // student: with kept tokens the sum over all others
    double value;                 // with a teacher the sum that divergence_of() takes
    float target;                 // logit of the target
    float share;                  // with kept tokens: factor for the gradient of all others
  };

  bool counts(int64_t row) const { return judge_.targets == nullptr || judge_.targets[first_ + row] >= 0; }
  // Return the row's kept tokens from `id` on, sorted by id, and their end.
  Kept* kept_from(int64_t row, int64_t id) const;
  Kept* kept_end(int64_t row) const { return kept_ + (row + 1) * judge_.kept.count; }
  void conclude_kept(int64_t row);
  static float origin(const LogitParts& parts, int64_t row, int64_t col) {
    const float largest = parts.largest(row, col);
    return largest == -INFINITY ? 0 : largest;
  }

  Judge judge_ = {};
  int64_t first_ = 0;
  LogitParts parts_, teacher_parts_;
  Row* rows_ = nullptr;
  Kept* kept_ = nullptr;
  float* of_workers_ = nullptr;
};

}  // namespace mbok
