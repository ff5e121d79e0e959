#include "operations/weights.h"

#include <algorithm>
#include <cstring>

#include "kernels/dense_product/dense_product.h"

namespace mbok {
namespace {

// Depth of a strip: 64 × 256 floats stay in L2, and hardware prefetchers follow half a kilobyte of a row at once.
constexpr int64_t kStripDepth = 256;

}  // namespace

void expect_weights(const Call& call, int w, int scales, const char* name) {
  const Tensor& tensor = call.input(w);
  const bool whole = tensor.type == TensorType::kI8;
  const bool blocks = tensor.type == TensorType::kQ8;
  const bool narrow = whole || blocks || tensor.type == TensorType::kF16 || tensor.type == TensorType::kBf16;
  expect_tensor(call, tensor, name, narrow ? tensor.type : TensorType::kF32, tensor.rows, tensor.cols);
  expect(call, !blocks || tensor.cols % kQ8Block == 0, "the columns of q8 must be whole blocks of 32");
  expect(call, call.has_input(scales) == whole, "weights have scales if and only if they are i8");
  if (whole) expect_tensor(call, call.input(scales), "scales", TensorType::kF32, tensor.rows, 1);
}

Weights::Weights(const Call& call, int w, int scales)
    : tensor_(call.input(w)),
      scales_(call.has_input(scales) ? call.input(scales).f32() : nullptr),
      widen_half_((tensor_.type == TensorType::kF16 ? f16_widen_table : bf16_widen_table).best()),
      widen_int8_(int8_widen_table.best()),
      widen_q8_(q8_widen_table.best()) {}

const std::byte* Weights::row(int64_t row) const {
  return static_cast<const std::byte*>(tensor_.data) + static_cast<size_t>(row) * row_bytes(tensor_.type, tensor_.cols);
}

void Weights::widen(int64_t row, int64_t col, int64_t count, float* to) const {
  const int64_t first = row * tensor_.cols + col;
  if (tensor_.type == TensorType::kF32)
    std::memcpy(to, tensor_.f32() + first, static_cast<size_t>(count) * sizeof(float));
  else if (tensor_.type == TensorType::kI8)
    widen_int8_(tensor_.i8() + first, scales_[row], to, count);
  else if (tensor_.type == TensorType::kQ8)
    widen_q8_(q8_row(this->row(row), tensor_.cols), col / kQ8Block, to, count);
  else
    widen_half_(tensor_.u16() + first, to, count);
}

WeightOperand::WeightOperand(const Weights& weights, bool transposed, Precision precision, const int32_t* order)
    : weights_(weights),
      transposed_(transposed),
      precision_(precision),
      order_(order),
      // the depth runs along rows of even length: two neighbors are one aligned 32-bit step in every strip
      whole_pairs_(weights.type() == TensorType::kBf16 && precision == Precision::kBf16 && !transposed &&
                   order == nullptr && weights.cols() % 2 == 0) {}

size_t WeightOperand::scratch_bytes() const {
  return (weights_.type() == TensorType::kF32 && order_ == nullptr) || whole_pairs_
             ? 0
             : kStripDepth * kPanelCols * sizeof(float);
}

void WeightOperand::pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
                         std::byte* scratch) const {
  if (weights_.type() == TensorType::kF32 && order_ == nullptr)
    return DenseOperand(reinterpret_cast<const float*>(weights_.row(0)), weights_.cols(), transposed_, precision_)
        .pack(col, cols, depth_begin, depth, panel, nullptr);
  if (whole_pairs_)
    return DenseOperand(reinterpret_cast<const float*>(weights_.row(0)), weights_.cols() / 2, false, Precision::kF32)
        .pack(col, cols, depth_begin / 2, depth / 2, panel, nullptr);
  float* const strip = reinterpret_cast<float*>(scratch);
  const int64_t stride = transposed_ ? kPanelCols : kStripDepth;
  const DenseOperand packed(strip, stride, transposed_, precision_);
  static_assert(kStripDepth % 2 == 0, "a strip is of whole steps");
  const int64_t step = precision_ == Precision::kBf16 ? 2 : 1;
  for (int64_t d = 0; d < depth; d += kStripDepth) {
    const int64_t count = std::min(kStripDepth, depth - d);
    if (transposed_)
      for (int64_t i = 0; i < count; ++i) weights_.widen(depth_begin + d + i, col, cols, strip + i * stride);
    else
      for (int64_t i = 0; i < cols; ++i)
        weights_.widen(order_ != nullptr ? order_[col + i] : col + i, depth_begin + d, count, strip + i * stride);
    packed.pack(0, cols, 0, count, static_cast<float*>(panel) + d / step * kPanelCols, nullptr);
  }
}

}  // namespace mbok
