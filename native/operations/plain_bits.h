// A bit matrix B[rows, cols] as the operand of a dense product over its rows: factor·B, rebuilt panel by panel like
// multi-Boolean weights with one kernel and constant scales.
#pragma once

#include "operations/boolean_operand.h"
#include "operations/scratch.h"

namespace mbok {

struct PlainBits {
  PlainBits(const Tensor& bits, Scratch& scratch)
      : bits_(bits), row_scales_(scratch.take<float>(bits.rows)), column_scales_(scratch.take<float>(bits.cols)) {}

  // Sets the scales; the layer then represents factor·B.
  BooleanLayer scaled(float factor) const {
    for (int64_t i = 0; i < bits_.rows; ++i) row_scales_[i] = factor;
    for (int64_t j = 0; j < bits_.cols; ++j) column_scales_[j] = 1;
    return weights();
  }
  BooleanLayer weights() const { return {1, bits_.rows, bits_.cols, bits_.bits(), row_scales_, column_scales_}; }

 private:
  Tensor bits_;
  float *row_scales_, *column_scales_;
};

}  // namespace mbok
