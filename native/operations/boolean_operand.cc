#include "operations/boolean_operand.h"

#include <cstring>

#include "kernels/dense_product/dense_product.h"

namespace mbok {
namespace {
constexpr int64_t kMaxDepth = 2 * kDepthBlock;  // of one call of pack, in bf16
}

MultiBoolean multi_boolean(const Call& call, int first) {
  const Tensor& s_out = call.input(first + 1);
  const Tensor& s_in = call.input(first + 2);
  return {call.input(first).bits(), s_out.f32(), s_in.f32(), s_out.rows, s_out.cols, s_in.cols};
}

MultiBoolean expect_multi_boolean(const Call& call, int first) {
  const MultiBoolean w = multi_boolean(call, first);
  expect(call, w.kernels >= 1, "needs at least one kernel");
  expect_tensor(call, call.input(first), "kernels", TensorType::kBits, w.kernels * w.m, w.n);
  expect_tensor(call, call.input(first + 1), "s_out", TensorType::kF32, w.kernels, w.m);
  expect_tensor(call, call.input(first + 2), "s_in", TensorType::kF32, w.kernels, w.n);
  return w;
}

BooleanOperand::BooleanOperand(const MultiBoolean& weights, Depth depth, Precision precision)
    : weights_(weights),
      depth_(depth),
      panel_((precision == Precision::kBf16 ? boolean_panel_bf16_table : boolean_panel_f32_table).best()),
      transpose_(bit_transpose_table.best()) {}

// across [kernels, 64], then, where rows have to be transposed, signs [kernels, kMaxDepth].
size_t BooleanOperand::scratch_bytes() const {
  const size_t across = kPanelCols * sizeof(float);
  const size_t signs = depth_ == Depth::kColumns ? kMaxDepth * sizeof(uint64_t) : 0;
  return static_cast<size_t>(weights_.kernels) * (across + signs);
}

void BooleanOperand::pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
                          std::byte* scratch) const {
  const MultiBoolean& w = weights_;
  const bool along_columns = depth_ == Depth::kColumns;
  float* const across = reinterpret_cast<float*>(scratch);
  const float* across_scales = along_columns ? w.s_out : w.s_in;
  for (int64_t k = 0; k < w.kernels; ++k) {
    const float* from = across_scales + k * (along_columns ? w.m : w.n) + col;
    std::memcpy(across + k * kPanelCols, from, static_cast<size_t>(cols) * sizeof(float));
    std::memset(across + k * kPanelCols + cols, 0, static_cast<size_t>(kPanelCols - cols) * sizeof(float));
  }
  const int64_t words = words_per_row(w.n);
  BooleanPanel source = {};
  source.across = across;
  source.kernels = w.kernels;
  source.depth = depth;
  if (along_columns) {
    uint64_t* const signs = reinterpret_cast<uint64_t*>(across + w.kernels * kPanelCols);
    for (int64_t k = 0; k < w.kernels; ++k)
      for (int64_t d = 0; d < depth; d += 64)  // depth_begin is a multiple of 64, so words are whole
        transpose_(w.bits + (k * w.m + col) * words + (depth_begin + d) / 64, words, cols, signs + k * kMaxDepth + d);
    source.signs = signs;
    source.kernel_stride = kMaxDepth;
    source.depth_stride = 1;
    source.along = w.s_in + depth_begin;
    source.along_stride = w.n;
  } else {
    source.signs = w.bits + depth_begin * words + col / 64;
    source.kernel_stride = w.m * words;
    source.depth_stride = words;
    source.along = w.s_out + depth_begin;
    source.along_stride = w.m;
  }
  panel_(source, panel);
}

}  // namespace mbok
