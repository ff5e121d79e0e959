// Blocks of ggml's element types to f32, exactly. Every value is computed in f32 in the order of the format's
// definition: d·q, d·q + m, (d·s)·q − (dmin·m). Products and sums are rounded one by one, so the bits equal those of
// ggml and of the Python package `gguf`.
//
// A block holds `elements` values in `bytes` bytes, little-endian, contiguous, unaligned. d, m, dmin: f16.
//
//   type    elements bytes  layout                                          value
//   F32            1     4  f32
//   F16            1     2  f16
//   BF16           1     2  the upper half of an f32
//   Q4_0          32    18  d, 16 bytes of q (low nibbles first half)       d (q − 8)
//   Q4_1          32    20  d, m, q                                         d q + m
//   Q5_0          32    22  d, 32 fifth bits, q                             d (q − 16)
//   Q5_1          32    24  d, m, 32 fifth bits, q                          d q + m
//   Q8_0          32    34  d, 32 signed bytes                              d q
//   IQ4_NL        32    18  as Q4_0                                         d table[q]
//   Q2_K         256    84  16 nibble pairs (s, m), q of 2 bits, d, dmin    (d s) q − (dmin m), s and m of 16 values
//   Q3_K         256   110  third bits, q of 2 bits, 16 s of 6 bits, d      (d (s − 32)) (q − 4·[third bit clear])
//   Q4_K         256   144  d, dmin, 8 (s, m) of 6 bits, q of 4 bits        (d s) q − (dmin m), s and m of 32 values
//   Q5_K         256   176  d, dmin, 8 (s, m), fifth bits, q of 4 bits      as Q4_K
//   Q6_K         256   210  low nibbles, high 2 bits, 16 signed s, d        (d s) (q − 32), s of 16 values
//
// Loading is bound by the disk. These plain loops, vectorized by the compiler, produce 3.5 (Q6_K) to 11 GB (Q8_0) of
// f32 per second and thread from cache (Zen 5), so there is no faster candidate.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

struct BlockType {
  int32_t id;  // ggml's type number, as in GGUF files
  int32_t elements;
  int32_t bytes;
  // True if a block begins with d and each value is d times an integer of 8 bits, as kernels/q8 stores them.
  bool whole = false;
};

// Largest block; the number of elements of every type divides it.
constexpr int64_t kLargestBlock = 256;

// Returns nullptr for an unsupported type.
const BlockType* find_block_type(int64_t id);

// y receives count · elements values; `id` is known to find_block_type.
using DequantizeFunction = void(int32_t id, const uint8_t* blocks, float* y, int64_t count);

namespace scalar {
DequantizeFunction dequantize;
}

extern const KernelTable<DequantizeFunction> dequantize_table;

}  // namespace mbok
