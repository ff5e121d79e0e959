// Common to dense and multi-Boolean linear layers: products of the tokens' rows with weights from any source.
#pragma once

#include "operations/panel_product.h"

namespace mbok {

// Describes C[rows, n] = A[rows, depth] · B[depth, n] (+ bias); a and c are tensors of R rows.
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

// Returns the number of rows by which a product of `rows` rows chooses its algorithm.
inline int64_t path_rows(const Call& call, int64_t rows) {
  const auto asked = static_cast<int64_t>(call.scalars->path_rows);
  return asked > 0 ? asked : rows;
}

// Returns the outputs per decode task: a few microseconds of work, in whole register tiles. `cost`: 16 times the vector
// operations of one output.
inline int64_t decode_outputs(int64_t cost, int64_t outputs) {
  constexpr int64_t kCost = 1 << 17, kTile = 8;
  const int64_t wanted = kCost / (cost + 1) / kTile * kTile;
  return wanted < kTile ? kTile : wanted < outputs ? wanted : outputs;
}

}  // namespace mbok
