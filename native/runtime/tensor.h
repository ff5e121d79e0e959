// A matrix in memory, as an operation sees it during one run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mbok {

enum class TensorType : int32_t {
  kF32 = 0,
  kI32 = 1,
  kF16 = 2,       // IEEE half, 16 bits
  kBf16 = 3,      // the upper half of an f32
  kBits = 4,      // ±1 as bits, least significant first; each row padded with zeros to whole 64-bit words
  kU8 = 5,        // raw bytes: blocks of a file format
  kI8 = 6,        // quantized weights with one scale per row
  kBitTiles = 7,  // ±1 as bits in tiles of 64 rows (kernels/bit_tiles); rows is a multiple of 64
  kQ8 = 8,        // quantized weights with one f16 scale per 32 columns of a row (kernels/q8)
};
constexpr TensorType kLastTensorType = TensorType::kQ8;

// Columns of q8 that share a scale.
constexpr int64_t kQ8Block = 32;
// Scales in one row of q8, and their bytes, which precede the row's integers.
inline int64_t q8_blocks(int64_t cols) { return (cols + kQ8Block - 1) / kQ8Block; }
inline int64_t q8_scale_bytes(int64_t cols) { return 2 * q8_blocks(cols); }

// 64-bit words in one row of a bit matrix with `cols` columns.
inline int64_t words_per_row(int64_t cols) { return (cols + 63) / 64; }

inline size_t row_bytes(TensorType type, int64_t cols) {
  switch (type) {
    case TensorType::kBits:
    case TensorType::kBitTiles:
      return static_cast<size_t>(words_per_row(cols)) * 8;
    case TensorType::kF16:
    case TensorType::kBf16:
      return static_cast<size_t>(cols) * 2;
    case TensorType::kF32:
    case TensorType::kI32:
      return static_cast<size_t>(cols) * 4;
    case TensorType::kU8:
    case TensorType::kI8:
      return static_cast<size_t>(cols);
    case TensorType::kQ8:
      return static_cast<size_t>(q8_scale_bytes(cols) + q8_blocks(cols) * kQ8Block);
  }
  return 0;
}

// Rows are contiguous without padding between them; data is aligned to 64 bytes.
struct Tensor {
  void* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  TensorType type = TensorType::kF32;

  float* f32() const { return static_cast<float*>(data); }
  int32_t* i32() const { return static_cast<int32_t*>(data); }
  uint16_t* u16() const { return static_cast<uint16_t*>(data); }
  int8_t* i8() const { return static_cast<int8_t*>(data); }
  uint64_t* bits() const { return static_cast<uint64_t*>(data); }
  int64_t words() const { return words_per_row(cols); }  // per row of bits
  int64_t size() const { return rows * cols; }
  size_t bytes() const { return static_cast<size_t>(rows) * row_bytes(type, cols); }
};

}  // namespace mbok
