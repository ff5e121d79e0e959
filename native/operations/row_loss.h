// What rows of a student's logits are judged by: the token that came, another model's logits, or what is kept of them. A row
// is seen in parts, so that it never needs to be in cache whole: logits as tiles come out of the product, and when their
// sums are known, pieces of its gradient.
#pragma once

#include <cmath>

#include "operations/logits.h"

namespace mbok {

// A distribution as kept by head_top_tokens: of every row `count` tokens with the logarithms of their probabilities, then
// the logarithm of what is left for all others.
struct KeptTokens {
  const int32_t* ids;       // [rows, count], checked, all different within a row
  const float* log_values;  // [rows, count + 1]
  int64_t count;            // less than the vocabulary
};

// One of three: targets, kept tokens or a teacher's logits.
struct Judge {
  const int32_t* targets;  // [rows], −1: not counted; or null
  KeptTokens kept;         // of count 0 if there are none
  bool teacher;
  double cap, teacher_cap;
  float factor;            // of the gradient
};

// Some of a row's logits: they are `numbers` + `from`.
struct LogitPiece {
  const float* numbers;
  float from;
};

// The losses of some rows at a time.
class RowLosses {
 public:
  RowLosses() = default;
  RowLosses(Scratch& scratch, const Judge& judge, int64_t rows, int64_t vocabulary, int threads);

  // Rows [first, first + rows) of the judge's; `row` below counts from there.
  void begin(int64_t first, int64_t rows);
  // Logits [col, col + cols) of a row, after their cap, col being a multiple of kLogitPart.
  void see(int64_t row, int64_t col, const float* logits, int64_t cols);
  void see_teacher(int64_t row, int64_t col, const float* logits, int64_t cols);
  // A number near the logits that were seen with that of `col`, to tell them as distances to it: the largest, or 0 where there is none.
  float origin(int64_t row, int64_t col) const { return origin(parts_, row, col); }
  float teacher_origin(int64_t row, int64_t col) const { return origin(teacher_parts_, row, col); }
  // When all of a row has been seen.
  void conclude(int64_t row, int worker);
  // to[0 … count) = factor · the gradient by logits [col, col + count) of a concluded row, count ≤ kMostMade: they and the
  // teacher's as they were before their caps, from 0 where there is a cap. `to` may be where the logits are.
  void gradient(int64_t row, int64_t col, int64_t count, const LogitPiece& logits, const LogitPiece& teacher, float* to);
  // Of a concluded row; with a teacher when the gradient has been formed at all of its logits.
  double value(int64_t row) const;

 private:
  struct Kept {
    int32_t id;
    float log_value, logit;
    float gradient;  // of a concluded row
  };
  struct Row {
    SoftmaxSum student, teacher;  // student: with kept tokens that of all others
    double value;                 // with a teacher the sum that divergence_of() takes
    float target;                 // its logit
    float share;                  // the sum of the other tokens' gradients, with kept ones
  };

  bool counts(int64_t row) const { return judge_.targets == nullptr || judge_.targets[first_ + row] >= 0; }
  // The row's kept tokens from `id` on, by their ids, and the end of all.
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
