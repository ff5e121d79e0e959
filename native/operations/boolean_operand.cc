#include "operations/boolean_operand.h"

#include <cstring>

#include "kernels/dense_product/dense_product.h"

namespace mbok {
namespace {
constexpr int64_t kMaxDepth = 2 * kDepthBlock;  // per call of pack, in bf16

BooleanPanelFunction* panel_function(Precision precision) {
  if (precision == Precision::kInt8) return boolean_panel_i8_table.best();
  return (precision == Precision::kBf16 ? boolean_panel_bf16_table : boolean_panel_f32_table).best();
}
}  // namespace

BooleanOperand::BooleanOperand(const BooleanLayer& weights, Depth depth, Precision precision)
    : weights_(weights),
      depth_(depth),
      panel_(panel_function(precision)),
      transpose_(bit_transpose_table.best()),
      planes_(bit_planes_table.best()) {}

// across [kernels, 64], then, if rows have to be transposed, signs [kernels, kMaxDepth].
size_t BooleanOperand::scratch_bytes() const {
  const size_t across = kPanelCols * sizeof(float);
  const size_t signs = depth_ == Depth::kColumns ? kMaxDepth * sizeof(uint64_t) : 0;
  return static_cast<size_t>(weights_.kernels) * (across + signs);
}

void BooleanOperand::pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
                          std::byte* scratch) const {
  const BooleanLayer& w = weights_;
  const bool along_columns = depth_ == Depth::kColumns;
  float* const across = reinterpret_cast<float*>(scratch);
  const float* across_scales = along_columns ? w.s_out : w.s_in;
  for (int64_t k = 0; k < w.kernels; ++k) {
    const float* from = across_scales + k * (along_columns ? w.m : w.n) + col;
    std::memcpy(across + k * kPanelCols, from, static_cast<size_t>(cols) * sizeof(float));
    std::memset(across + k * kPanelCols + cols, 0, static_cast<size_t>(kPanelCols - cols) * sizeof(float));
  }
  const int64_t words = w.words();
  BooleanPanel source = {};
  source.across = across;
  source.kernels = w.kernels;
  source.depth = depth;
  if (along_columns) {
    uint64_t* const signs = reinterpret_cast<uint64_t*>(across + w.kernels * kPanelCols);
    for (int64_t k = 0; k < w.kernels; ++k)
      for (int64_t d = 0; d < depth; d += 64) {  // depth_begin is a multiple of 64, so words are whole
        const int64_t word = (depth_begin + d) / 64;
        uint64_t* const block = signs + k * kMaxDepth + d;
        if (w.tiles != nullptr)
          planes_(w.block(k, col, word), block);
        else
          transpose_(w.row(k, col) + word, words, cols, block);
      }
    source.signs = signs;
    source.kernel_stride = kMaxDepth;
    source.depth_stride = 1;
    source.along = w.s_in + depth_begin;
    source.along_stride = w.n;
  } else {
    source.signs = w.row(0, depth_begin) + col / 64;
    source.kernel_stride = w.m * words;
    source.depth_stride = words;
    source.along = w.s_out + depth_begin;
    source.along_stride = w.m;
  }
  panel_(source, panel);
}

BooleanPanels BooleanOperand::source(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth) const {
  const BooleanLayer& w = weights_;
  return {w.block(0, col, depth_begin / 64),
          w.kernel_bytes(),
          w.tile_bytes(),
          w.s_in + depth_begin,
          w.n,
          w.s_out + col,
          w.m,
          w.kernels,
          cols,
          depth,
          nullptr,
          0};
}

}  // namespace mbok
