// Weights in 8 bits with one f16 scale per 32 columns: w[j] = scale[j / 32] · q[j]. This is ggml's Q8_0. Q4_0, Q5_0 and
// IQ4_NL, whose numbers have fewer bits, are stored exactly too.
//
// Layout. A row is its cols / 32 scales, then its numbers (int8), one stream of 8.5 bits per weight. Scales are
// contiguous, so that a vector of them is widened at once. cols is a multiple of 32. Rows are contiguous, so scales are
// aligned to two bytes and numbers to one.
//
//   widen: to[j] = w[32 · block + j], exact because 11 bits times 8 fit the 24 bits of f32
//
// count elements; no other memory is touched. A vector costs a load with two conversions, a multiplication by a scale
// from L1 and a store. A vector of scales costs a load with conversion and a store, and serves 16 · 32 columns (AVX2,
// NEON: 8 · 32). Bound by memory, from cache by the store.
//
// dense_decode multiplies in the same way, so every reader of q8 gives the bits that the same weights give in f32.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"
#include "runtime/tensor.h"

namespace mbok {

struct Q8Row {
  const uint16_t* scales;
  const int8_t* numbers;
};

inline Q8Row q8_row(const void* row, int64_t cols) {
  return {static_cast<const uint16_t*>(row), static_cast<const int8_t*>(row) + q8_scale_bytes(cols)};
}

using Q8WidenFunction = void(const Q8Row& row, int64_t block, float* to, int64_t count);
extern const KernelTable<Q8WidenFunction> q8_widen_table;

namespace scalar {
Q8WidenFunction q8_widen;
}  // namespace scalar
MBOK_DECLARE_VECTOR(Q8WidenFunction q8_widen;)

}  // namespace mbok
