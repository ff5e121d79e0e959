// Weights in 8 bits with one f16 scale every 32 columns: w[j] = scale[j / 32] · q[j]. It is what ggml's Q8_0 means, and
// what Q4_0, Q5_0 and IQ4_NL mean, whose numbers have fewer bits: all of them are held exactly.
//
// Layout. A row is its cols / 32 scales, then its numbers (int8): 8.5 bits a weight in one stream from memory, and scales
// together, so that a vector of them is widened at once. cols is a multiple of 32; rows follow one another without gaps,
// so scales are aligned to two bytes and numbers to none.
//
//   widen: to[j] = w[32 · block + j], exactly: 11 bits times 8 fit the 24 of f32
//
// count elements, nothing beyond is touched. A vector costs a load with two conversions, a product with a scale from L1
// and a store. A vector of scales costs a load with its conversion and a store, and serves 16 · 32 columns (AVX2 and NEON:
// 8 · 32).
// Bound by memory from there, by the store from cache.
//
// dense_decode multiplies in the same way. So whatever reads q8 gives the bits that the same weights give in f32.
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
