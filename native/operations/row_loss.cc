#include "operations/row_loss.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/kl_divergence/kl_divergence.h"
#include "kernels/softcap/softcap.h"

namespace mbok {

RowLosses::RowLosses(Scratch& scratch, const Judge& judge, int64_t rows, int64_t vocabulary, int threads)
    : judge_(judge), parts_(scratch, rows, vocabulary, false) {
  if (judge.teacher) teacher_parts_ = LogitParts(scratch, rows, vocabulary, false);
  rows_ = scratch.take<Row>(rows);
  kept_ = scratch.take<Kept>(rows * judge.kept.count);
  of_workers_ = scratch.take<float>(parts_.scratch_floats() * threads);
}

void RowLosses::begin(int64_t first, int64_t rows) {
  first_ = first;
  const auto& [ids, log_values, count] = judge_.kept;
  for (int64_t r = 0; count > 0 && r < rows; ++r) {
    Kept* const kept = kept_ + r * count;
    for (int64_t i = 0; i < count; ++i)
      kept[i] = {ids[(first + r) * count + i], log_values[(first + r) * (count + 1) + i], 0, 0};
    std::sort(kept, kept + count, [](const Kept& a, const Kept& b) { return a.id < b.id; });
  }
}

RowLosses::Kept* RowLosses::kept_from(int64_t row, int64_t id) const {
  Kept* const kept = kept_ + row * judge_.kept.count;
  return std::lower_bound(kept, kept_end(row), id, [](const Kept& a, int64_t from) { return a.id < from; });
}

// Kept logits are excluded from the sum: the others' sum as a difference of sums near one would lose all precision.
void RowLosses::see(int64_t row, int64_t col, const float* logits, int64_t cols) {
  alignas(64) float others[kLogitPart];
  if (judge_.targets != nullptr) {
    const int64_t target = judge_.targets[first_ + row] - col;
    if (target >= 0 && target < cols) rows_[row].target = logits[target];
  }
  if (judge_.kept.count > 0) {
    Kept* kept = kept_from(row, col);
    if (kept != kept_end(row) && kept->id < col + cols) {
      std::memcpy(others, logits, static_cast<size_t>(cols) * sizeof(float));
      for (; kept != kept_end(row) && kept->id < col + cols; ++kept) {
        kept->logit = logits[kept->id - col];
        others[kept->id - col] = -INFINITY;
      }
      logits = others;
    }
  }
  parts_.add(row, col, logits, cols);
}

void RowLosses::see_teacher(int64_t row, int64_t col, const float* logits, int64_t cols) {
  teacher_parts_.add(row, col, logits, cols);
}

void RowLosses::conclude(int64_t row, int worker) {
  float* const scratch = of_workers_ + worker * parts_.scratch_floats();
  Row& at = rows_[row];
  at.student = parts_.sum(row, scratch);
  at.value = 0;
  if (judge_.targets != nullptr && counts(row)) at.value = cross_entropy_of(at.student, at.target);
  if (judge_.teacher) at.teacher = teacher_parts_.sum(row, scratch);
  if (judge_.kept.count > 0) conclude_kept(row);
}

void RowLosses::conclude_kept(int64_t row) {
  Row& at = rows_[row];
  Kept *const begin = kept_from(row, 0), *const end = kept_end(row);
  SoftmaxSum of_all = at.student;
  for (const Kept* k = begin; k != end; ++k) of_all.largest = std::max(of_all.largest, k->logit);
  of_all.sum *= std::exp(static_cast<double>(at.student.largest) - of_all.largest);
  for (const Kept* k = begin; k != end; ++k) of_all.sum += std::exp(static_cast<double>(k->logit) - of_all.largest);
  const double all = log_sum(of_all), rest = log_sum(at.student);
  for (Kept* k = begin; k != end; ++k) {
    const double p = std::exp(static_cast<double>(k->log_value)), x = k->logit;
    at.value += p == 0 ? 0 : p * (k->log_value - (x - all));
    k->gradient = judge_.factor * static_cast<float>(std::exp(x - all) - p);
  }
  const double log_left = judge_.kept.log_values[(first_ + row) * (judge_.kept.count + 1) + judge_.kept.count];
  const double left = std::exp(log_left);
  at.value += left == 0 ? 0 : left * (log_left - (rest - all));
  at.share = judge_.factor * static_cast<float>(std::exp(rest - all) - left);
}

void RowLosses::gradient(int64_t row, int64_t col, int64_t count, const LogitPiece& logits, const LogitPiece& teacher,
                         float* to) {
  alignas(64) float capped[kMostMade], teacher_capped[kMostMade];
  Row& at = rows_[row];
  if (!counts(row)) {
    std::memset(to, 0, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const float cap = static_cast<float>(judge_.cap), teacher_cap = static_cast<float>(judge_.teacher_cap);
  const float *z = logits.numbers, *t = teacher.numbers;
  float* dz = to;
  if (cap > 0) {
    softcap_table.best()(cap, z, capped, count);
    z = dz = capped;
  }
  const SoftmaxSum of = {at.student.largest - logits.from, at.student.sum};
  if (judge_.teacher) {
    if (teacher_cap > 0) {
      softcap_table.best()(teacher_cap, t, teacher_capped, count);
      t = teacher_capped;
    }
    const SoftmaxSum of_teacher = {at.teacher.largest - teacher.from, at.teacher.sum};
    at.value += kl_divergence_gradient_table.best()(z, t, count, {0, of, of_teacher}, judge_.factor, dz);
  } else if (judge_.targets != nullptr) {
    cross_entropy_gradient_table.best()(z, count, judge_.targets[first_ + row] - col, of, judge_.factor, dz);
  } else {
    cross_entropy_gradient_table.best()(z, count, -1, of, at.share, dz);
    for (const Kept* k = kept_from(row, col); k != kept_end(row) && k->id < col + count; ++k)
      dz[k->id - col] = k->gradient;
  }
  if (cap > 0) softcap_gradient_table.best()(cap, dz, logits.numbers, to, count);
}

double RowLosses::value(int64_t row) const {
  const Row& at = rows_[row];
  return judge_.teacher ? divergence_of(at.value, at.student, at.teacher) : at.value;
}

}  // namespace mbok
