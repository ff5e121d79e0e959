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

// Outputs of a layer for one decoding task: work for a few microseconds, `cost` being the vector operations of one
// output times 16, in whole register tiles.
inline int64_t decode_outputs(int64_t cost, int64_t outputs) {
  constexpr int64_t kCost = 1 << 17, kTile = 8;
  const int64_t wanted = kCost / (cost + 1) / kTile * kTile;
  return wanted < kTile ? kTile : wanted < outputs ? wanted : outputs;
}

}  // namespace mbok
