// The loss of a row, shared by the hidden-state loss and its gradient. With r = ‖h − t‖² / (‖t‖² + 1e-6):
//   plain        ‖h − t‖² / columns
//   relative     r
//   logarithmic  log(1 + r): about r where the student is near, and of bounded influence where it is not. If the
//                student makes an activation massive that is not in the teacher, r is in the thousands there.
#pragma once

#include <cmath>

#include "kernels/hidden_loss/hidden_loss.h"
#include "runtime/operation.h"

namespace mbok {

enum class HiddenLossKind { kPlain, kRelative, kLogarithmic };
constexpr int kHiddenLossKinds = 3;

// Added to ‖t‖²: rows of zeros (padding) must not divide by zero.
constexpr double kHiddenLossFloor = 1e-6;

inline void expect_hidden_loss_kind(const Call& call, int attribute) {
  const int64_t kind = call.integer(attribute);
  expect(call, kind >= 0 && kind < kHiddenLossKinds, "unknown hidden loss");
}

inline HiddenLossKind hidden_loss_kind(const Call& call, int attribute) {
  return static_cast<HiddenLossKind>(call.integer(attribute));
}

// Returns a row's loss.
inline double hidden_loss_value(HiddenLossKind kind, const HiddenDistance& row, int64_t cols) {
  if (kind == HiddenLossKind::kPlain) return row.difference / static_cast<double>(cols);
  const double ratio = row.difference / (row.norm + kHiddenLossFloor);
  return kind == HiddenLossKind::kRelative ? ratio : std::log1p(ratio);
}

// Returns d such that a row's gradient is 2 (h − t) / d.
inline double hidden_loss_divisor(HiddenLossKind kind, const HiddenDistance& row, int64_t cols) {
  if (kind == HiddenLossKind::kPlain) return static_cast<double>(cols);
  const double norm = row.norm + kHiddenLossFloor;
  return kind == HiddenLossKind::kRelative ? norm : norm + row.difference;
}

}  // namespace mbok
