// y = wᵀ: w [r, c] → y [c, r], for types with elements of whole bytes. For weights that files store transposed (GPT-2's
// Conv1D). It runs once per load, so plain squares that fit the cache suffice, one row of squares per task.
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kSide = 32;

void check(const Call& call) {
  expect_counts(call, 1, 1, 0);
  const Tensor& w = call.input(0);
  // rows of these types are packed: their elements do not lie at multiples of a size
  const bool packed = w.type == TensorType::kBits || w.type == TensorType::kBitTiles || w.type == TensorType::kQ8;
  expect(call, !packed, "w must have elements of whole bytes, without scales among them");
  expect_tensor(call, w, "w", w.type, w.rows, w.cols);
  expect_tensor(call, call.output(0), "y", w.type, w.cols, w.rows);
}

template <class Element>
void transpose_rows(const Tensor& w, const Tensor& y, int64_t first, int64_t last) {
  const Element* from = static_cast<const Element*>(w.data);
  Element* to = static_cast<Element*>(y.data);
  for (int64_t left = 0; left < w.cols; left += kSide) {
    const int64_t right = left + kSide < w.cols ? left + kSide : w.cols;
    for (int64_t c = left; c < right; ++c)
      for (int64_t r = first; r < last; ++r) to[c * w.rows + r] = from[r * w.cols + c];
  }
}

void run(const Call& call) {
  const Tensor& w = call.input(0);
  const Tensor& y = call.output(0);
  call.pool->parallel_for((w.rows + kSide - 1) / kSide, [&](int64_t task, int) {
    const int64_t first = task * kSide, last = first + kSide < w.rows ? first + kSide : w.rows;
    switch (row_bytes(w.type, 1)) {
      case 1:
        return transpose_rows<uint8_t>(w, y, first, last);
      case 2:
        return transpose_rows<uint16_t>(w, y, first, last);
      default:
        return transpose_rows<uint32_t>(w, y, first, last);
    }
  });
}

}  // namespace

extern const Operation transpose_operation;
const Operation transpose_operation = {"transpose", check, nullptr, run, false};

}  // namespace mbok
