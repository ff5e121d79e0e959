// Writes rows scalars.position … of w from ggml blocks (kernels/dequantize/dequantize.h), rounded once to w's element
// type (ties to even). q8 stores the blocks of its types exactly. A file's matrix is read some rows at a time; rows of
// bytes beyond w's last are ignored.
//
// inputs bytes u8 [rows, bytes of a row]; outputs w [all rows, cols] f32, f16, bf16 or q8; attribute ggml's type id.
// Throws Error MBOK_NON_FINITE for a NaN or a value that is infinite in w's type.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "kernels/dequantize/dequantize.h"
#include "kernels/half/half.h"
#include "kernels/q8/q8.h"
#include "operations/elements.h"
#include "operations/rows.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kChunk = 4 * kLargestBlock;  // elements on the stack between widening and narrowing: 4 KiB

void check(const Call& call) {
  expect_counts(call, 1, 1, 1);
  const Tensor &bytes = call.input(0), &w = call.output(0);
  const BlockType* type = find_block_type(call.integer(0));
  expect(call, type != nullptr, "the type of the blocks is not known");
  expect(call,
         w.type == TensorType::kF32 || w.type == TensorType::kF16 || w.type == TensorType::kBf16 ||
             (w.type == TensorType::kQ8 && type->whole),
         "'w' must be f32, f16 or bf16, or q8 of blocks that it holds exactly");
  expect(call, w.cols % type->elements == 0, "the columns of 'w' must be whole blocks");
  expect_tensor(call, bytes, "bytes", TensorType::kU8, bytes.rows, w.cols / type->elements * type->bytes);
}

uint32_t magnitude_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits & 0x7fffffffu;
}

// Returns the least magnitude, as bits, that is infinite after rounding to the type. NaNs compare above infinity.
uint32_t limit_bits(TensorType type) {
  switch (type) {
    case TensorType::kF16:
      return magnitude_bits(65520.0f);  // halfway from 65504 to 2^16; ties go to even, up
    case TensorType::kBf16:
      return 0x7f7f8000u;
    default:
      return 0x7f800000u;
  }
}

// Converts a row of blocks to q8. The numbers are the blocks' values at scale 1. Returns whether all scales are finite.
bool row_to_q8(const BlockType& type, DequantizeFunction* dequantize, const uint8_t* blocks, int64_t cols, void* to) {
  constexpr uint16_t kOne = 0x3c00, kExponent = 0x7c00;
  constexpr int64_t kBlocks = 8, kLargestBytes = 34;
  auto* const scales = static_cast<uint8_t*>(to);
  auto* const numbers = static_cast<int8_t*>(to) + q8_scale_bytes(cols);
  uint8_t unscaled[kBlocks * kLargestBytes];
  float values[kBlocks * kQ8Block];
  bool finite = true;
  for (int64_t first = 0; first < cols / kQ8Block; first += kBlocks) {
    const int64_t count = std::min(kBlocks, cols / kQ8Block - first);
    const uint8_t* const from = blocks + first * type.bytes;
    std::memcpy(unscaled, from, static_cast<size_t>(count * type.bytes));
    for (int64_t b = 0; b < count; ++b) {
      uint16_t scale;
      std::memcpy(&scale, from + b * type.bytes, sizeof scale);
      std::memcpy(scales + (first + b) * 2, &scale, sizeof scale);
      std::memcpy(unscaled + b * type.bytes, &kOne, sizeof kOne);
      finite = finite && (scale & kExponent) != kExponent;
    }
    dequantize(type.id, unscaled, values, count);
    for (int64_t i = 0; i < count * kQ8Block; ++i) numbers[first * kQ8Block + i] = static_cast<int8_t>(values[i]);
  }
  return finite;
}

void run(const Call& call) {
  const Tensor& w = call.output(0);
  const auto position = static_cast<int64_t>(call.scalars->position);
  if (position >= w.rows)
    throw Error("MBOK_INVALID_ARGUMENT", "dequantize: row " + std::to_string(position) + " lies beyond the matrix");
  const int64_t rows = std::min(call.input(0).rows, w.rows - position), before = position * w.cols;
  const BlockType type = *find_block_type(call.integer(0));
  const auto* blocks = static_cast<const uint8_t*>(call.input(0).data);
  DequantizeFunction* const dequantize = dequantize_table.best();
  std::atomic<bool> finite{true};
  const auto expect_finite = [&finite] {
    if (!finite.load()) throw Error("MBOK_NON_FINITE", "dequantize: the blocks hold values that are not finite");
  };
  if (w.type == TensorType::kQ8) {
    const size_t from = row_bytes(TensorType::kU8, call.input(0).cols), to = row_bytes(w.type, w.cols);
    auto* const out = static_cast<std::byte*>(w.data) + static_cast<size_t>(position) * to;
    for_row_tasks(*call.pool, split_rows(rows, w.cols), [&](int64_t first, int64_t count) {
      for (auto r = static_cast<size_t>(first); r < static_cast<size_t>(first + count); ++r)
        if (!row_to_q8(type, dequantize, blocks + r * from, w.cols, out + r * to))
          finite.store(false, std::memory_order_relaxed);
    });
    return expect_finite();
  }
  NarrowFunction* const narrow = (w.type == TensorType::kF16 ? f16_narrow_table : bf16_narrow_table).best();
  const uint32_t limit = limit_bits(w.type);
  // rows are whole contiguous blocks, so the matrix is one list of blocks
  for_element_tasks(*call.pool, rows * w.cols, [&](int64_t first, int64_t size) {
    alignas(64) float chunk[kChunk];
    for (int64_t at = first; at < first + size; at += kChunk) {
      const int64_t count = first + size - at < kChunk ? first + size - at : kChunk;
      float* const values = w.type == TensorType::kF32 ? w.f32() + before + at : chunk;
      dequantize(type.id, blocks + at / type.elements * type.bytes, values, count / type.elements);
      uint32_t largest = 0;
      for (int64_t i = 0; i < count; ++i) {
        const uint32_t bits = magnitude_bits(values[i]);
        if (bits > largest) largest = bits;
      }
      if (largest >= limit) finite.store(false, std::memory_order_relaxed);
      if (w.type != TensorType::kF32) narrow(values, w.u16() + before + at, count);
    }
  });
  expect_finite();
}

}  // namespace

extern const Operation dequantize_operation;
const Operation dequantize_operation = {"dequantize", check, nullptr, run, false};

}  // namespace mbok
