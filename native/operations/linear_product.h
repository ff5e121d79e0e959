// What the dense and the multi-Boolean linear layers share: a product of the tokens' rows with weights from anywhere.
#pragma once

#include "operations/panel_product.h"

namespace mbok {

// C[rows, n] = A[rows, depth] · B[depth, n] (+ bias); a and c are tensors of R rows.
inline PanelProduct rows_product(const Tensor& a, const Tensor& c, const float* bias, Precision precision) {
  PanelProduct p = {};
  p.m = a.rows;
  p.n = c.cols;
  p.depth = a.cols;
  p.a = a.f32();
  p.a_stride = a.cols;
  p.precision = precision;
  p.c = c.f32();
  p.c_stride = c.cols;
  p.bias = bias;
  return p;
}

// The attribute that chooses the precision, narrowed to what the CPU has.
inline Precision precision_attribute(const Call& call, int index) {
  return usable_precision(static_cast<Precision>(call.integer(index)));
}

}  // namespace mbok
