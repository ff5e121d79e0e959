// Weights as stored: f32, f16, bf16, i8 with one scale per row, or q8 with its scales. Operations that read them widen
// what they need when they need it, so a 16-bit model never exists in 32 bits.
#pragma once

#include "kernels/dense_decode/dense_decode.h"
#include "kernels/half/half.h"
#include "kernels/int8/int8.h"
#include "kernels/q8/q8.h"
#include "operations/panel_product.h"

namespace mbok {

// Checks that input `w` has one of these types and that i8, and only i8, comes with input `scales` f32 [rows, 1].
// Throws Error MBOK_SHAPE.
void expect_weights(const Call& call, int w, int scales, const char* name);

class Weights {
 public:
  Weights(const Call& call, int w, int scales);

  TensorType type() const { return tensor_.type; }
  int64_t rows() const { return tensor_.rows; }
  int64_t cols() const { return tensor_.cols; }
  // Returns the address of the first element of `row`.
  const std::byte* row(int64_t row) const;
  const float* scales() const { return scales_; }  // null except for i8

  // to[0 … count) = the row's elements from column `col` on, in f32; for q8 `col` is a multiple of kQ8Block.
  void widen(int64_t row, int64_t col, int64_t count, float* to) const;

 private:
  Tensor tensor_;
  const float* scales_;
  WidenFunction* widen_half_;
  Int8WidenFunction* widen_int8_;
  Q8WidenFunction* widen_q8_;
};

// B of a product: w transposed ([n, depth], the weights of Y = X·Wᵀ) or, with `transposed`, w itself ([depth, n]).
// Narrow weights are widened strip by strip into a buffer that stays in cache and packed from there. bf16 that stays
// bf16 is packed as pairs of its bits.
class WeightOperand final : public PanelOperand {
 public:
  // order: if not null, column i is row order[i] of the weights, which are then not transposed.
  WeightOperand(const Weights& weights, bool transposed, Precision precision, const int32_t* order = nullptr);
  void pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
            std::byte* scratch) const override;
  size_t scratch_bytes() const override;

 private:
  Weights weights_;
  bool transposed_;
  Precision precision_;
  const int32_t* order_;
  bool whole_pairs_;
};

}  // namespace mbok
