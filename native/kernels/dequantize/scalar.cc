#include <cstring>

#include "kernels/dequantize/dequantize.h"
#include "kernels/half/half.h"

namespace mbok::scalar {
namespace {

float half_at(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  float value;
  f16_widen(&bits, &value, 1);
  return value;
}

// Unpacks 16 bytes of nibbles to 32 values: low nibbles are the first half.
void q4_0(const uint8_t* block, float* y) {
  const float d = half_at(block);
  const uint8_t* q = block + 2;
  for (int j = 0; j < 16; ++j) y[j] = d * static_cast<float>((q[j] & 15) - 8);
  for (int j = 0; j < 16; ++j) y[16 + j] = d * static_cast<float>((q[j] >> 4) - 8);
}

void q4_1(const uint8_t* block, float* y) {
  const float d = half_at(block), m = half_at(block + 2);
  const uint8_t* q = block + 4;
  for (int j = 0; j < 16; ++j) y[j] = d * static_cast<float>(q[j] & 15) + m;
  for (int j = 0; j < 16; ++j) y[16 + j] = d * static_cast<float>(q[j] >> 4) + m;
}

// Unpacks 4 bytes of fifth bits, then 16 bytes of nibbles.
void five_bits(const uint8_t* packed, int32_t* q) {
  uint32_t fifth;
  std::memcpy(&fifth, packed, 4);
  const uint8_t* nibbles = packed + 4;
  for (int j = 0; j < 16; ++j) q[j] = (nibbles[j] & 15) | static_cast<int32_t>((fifth >> j & 1) << 4);
  for (int j = 0; j < 16; ++j) q[16 + j] = (nibbles[j] >> 4) | static_cast<int32_t>((fifth >> (16 + j) & 1) << 4);
}

void q5_0(const uint8_t* block, float* y) {
  const float d = half_at(block);
  int32_t q[32];
  five_bits(block + 2, q);
  for (int j = 0; j < 32; ++j) y[j] = d * static_cast<float>(q[j] - 16);
}

void q5_1(const uint8_t* block, float* y) {
  const float d = half_at(block), m = half_at(block + 2);
  int32_t q[32];
  five_bits(block + 4, q);
  for (int j = 0; j < 32; ++j) y[j] = d * static_cast<float>(q[j]) + m;
}

void q8_0(const uint8_t* block, float* y) {
  const float d = half_at(block);
  const int8_t* q = reinterpret_cast<const int8_t*>(block + 2);
  for (int j = 0; j < 32; ++j) y[j] = d * static_cast<float>(q[j]);
}

void iq4_nl(const uint8_t* block, float* y) {
  static constexpr float kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  const float d = half_at(block);
  const uint8_t* q = block + 2;
  for (int j = 0; j < 16; ++j) y[j] = d * kValues[q[j] & 15];
  for (int j = 0; j < 16; ++j) y[16 + j] = d * kValues[q[j] >> 4];
}

// Values of the 256-element blocks come in groups of 32, whose bits share 32 bytes: four groups of two bits (shift 0,
// 2, 4, 6) or two groups of four bits.

void q2_k(const uint8_t* block, float* y) {
  const uint8_t *scales = block, *q = block + 16;
  const float d = half_at(block + 80), dmin = half_at(block + 82);
  for (int group = 0; group < 8; ++group, y += 32) {
    const uint8_t* bytes = q + group / 4 * 32;
    const int shift = group % 4 * 2;
    for (int half = 0; half < 2; ++half) {
      const uint8_t pair = scales[group * 2 + half];
      const float scale = d * static_cast<float>(pair & 15), minimum = dmin * static_cast<float>(pair >> 4);
      for (int j = half * 16; j < half * 16 + 16; ++j)
        y[j] = scale * static_cast<float>((bytes[j] >> shift) & 3) - minimum;
    }
  }
}

void q3_k(const uint8_t* block, float* y) {
  const uint8_t *third = block, *q = block + 32, *packed = block + 96;
  const float d = half_at(block + 108);
  for (int group = 0; group < 8; ++group, y += 32) {
    const uint8_t* bytes = q + group / 4 * 32;
    const int shift = group % 4 * 2;
    for (int half = 0; half < 2; ++half) {
      const int i = group * 2 + half;
      // four low bits of scale i and i + 8 share a byte; two high bits of every fourth scale share one
      const int low = packed[i % 8] >> (i / 8 * 4) & 15, high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      for (int j = half * 16; j < half * 16 + 16; ++j)
        y[j] = scale * static_cast<float>(((bytes[j] >> shift) & 3) - 4 * (1 - (third[j] >> group & 1)));
    }
  }
}

struct ScaleAndMinimum {
  float scale, minimum;
};

// Unpacks the 6-bit (s, m) of Q4_K and Q5_K: 12 bytes hold eight pairs. Pairs 0-3 are the low six bits of bytes 0-3 (s)
// and 4-7 (m). Pairs 4-7 have their low nibbles in bytes 8-11 and their high bits on top of bytes 0-3 (s) and 4-7 (m).
ScaleAndMinimum scale_and_minimum(const uint8_t* block, int i) {
  const uint8_t* packed = block + 4;
  const int s = i < 4 ? packed[i] & 63 : (packed[i + 4] & 15) | (packed[i - 4] >> 6 << 4);
  const int m = i < 4 ? packed[i + 4] & 63 : packed[i + 4] >> 4 | (packed[i] >> 6 << 4);
  return {half_at(block) * static_cast<float>(s), half_at(block + 2) * static_cast<float>(m)};
}

void q4_k(const uint8_t* block, float* y) {
  for (int group = 0; group < 8; ++group, y += 32) {
    const auto [scale, minimum] = scale_and_minimum(block, group);
    const uint8_t* bytes = block + 16 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int j = 0; j < 32; ++j) y[j] = scale * static_cast<float>((bytes[j] >> shift) & 15) - minimum;
  }
}

void q5_k(const uint8_t* block, float* y) {
  const uint8_t* fifth = block + 16;
  for (int group = 0; group < 8; ++group, y += 32) {
    const auto [scale, minimum] = scale_and_minimum(block, group);
    const uint8_t* bytes = block + 48 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int j = 0; j < 32; ++j)
      y[j] = scale * static_cast<float>(((bytes[j] >> shift) & 15) | (fifth[j] >> group & 1) << 4) - minimum;
  }
}

void q6_k(const uint8_t* block, float* y) {
  const int8_t* scales = reinterpret_cast<const int8_t*>(block + 192);
  const float d = half_at(block + 208);
  for (int group = 0; group < 8; ++group, y += 32) {
    const uint8_t* low = block + group / 4 * 64 + group % 2 * 32;
    const uint8_t* high = block + 128 + group / 4 * 32;
    const int low_shift = group / 2 % 2 * 4, high_shift = group % 4 * 2;
    for (int half = 0; half < 2; ++half) {
      const float scale = d * static_cast<float>(scales[group * 2 + half]);
      for (int j = half * 16; j < half * 16 + 16; ++j)
        y[j] = scale * static_cast<float>(((low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4) - 32);
    }
  }
}

template <void block_values(const uint8_t*, float*), int kElements, int kBytes>
void each_block(const uint8_t* blocks, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) block_values(blocks + i * kBytes, y + i * kElements);
}

}  // namespace

void dequantize(int32_t id, const uint8_t* blocks, float* y, int64_t count) {
  // tensors are aligned to 64 bytes and offsets are whole blocks, so 16-bit types are aligned
  const auto* halves = reinterpret_cast<const uint16_t*>(blocks);
  switch (id) {
    case 0:
      std::memcpy(y, blocks, static_cast<size_t>(count) * 4);
      return;
    case 1:
      return f16_widen_table.best()(halves, y, count);
    case 30:
      return bf16_widen_table.best()(halves, y, count);
    case 2:
      return each_block<q4_0, 32, 18>(blocks, y, count);
    case 3:
      return each_block<q4_1, 32, 20>(blocks, y, count);
    case 6:
      return each_block<q5_0, 32, 22>(blocks, y, count);
    case 7:
      return each_block<q5_1, 32, 24>(blocks, y, count);
    case 8:
      return each_block<q8_0, 32, 34>(blocks, y, count);
    case 20:
      return each_block<iq4_nl, 32, 18>(blocks, y, count);
    case 10:
      return each_block<q2_k, 256, 84>(blocks, y, count);
    case 11:
      return each_block<q3_k, 256, 110>(blocks, y, count);
    case 12:
      return each_block<q4_k, 256, 144>(blocks, y, count);
    case 13:
      return each_block<q5_k, 256, 176>(blocks, y, count);
    case 14:
      return each_block<q6_k, 256, 210>(blocks, y, count);
  }
}

}  // namespace mbok::scalar
