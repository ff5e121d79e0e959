#include <cmath>

#include "kernels/bit_tiles/bit_tiles.h"
#include "kernels/boolean_lookup/candidates.h"
#include "kernels/simd/round_block.h"

namespace mbok::scalar {
namespace {

constexpr float kLargest = 511;

// values ← values − q · scale, the remainder for the next part.
void quantize(float* values, float* scale, int* q) {
  const BlockScale block = block_scale(values, kLookupBlock, kLargest);
  *scale = block.scale;
  for (int64_t j = 0; j < kLookupBlock; ++j) {
    q[j] = rounded(values[j], block, kLargest);
    values[j] = std::fma(-static_cast<float>(q[j]), block.scale, values[j]);
  }
}

int entry(const int* q, int set) {
  int sum = 0;
  for (int b = 0; b < 4; ++b) sum += set >> b & 1 ? q[b] : -q[b];
  return sum;
}

int value(const uint8_t* table, int index) { return table[index] + (table[16 + index] - kHighBias) * (1 << kLowBits); }

}  // namespace

void lookup_tables(const LookupInputs& in, uint8_t* tables, float* scales) {
  for (int64_t word = 0; word * kLookupBlock < in.n; ++word) {
    float values[kLookupBlock];
    for (int64_t j = 0; j < kLookupBlock; ++j) {
      const int64_t at = word * kLookupBlock + j;
      values[j] = at < in.n ? in.x[at] * in.s_in[at] : 0;
    }
    for (int64_t part = 0; part < in.parts; ++part) {
      int q[kLookupBlock];
      quantize(values, scales + part * in.words + word, q);
      uint8_t* table = tables + (part * in.words + word) * kLookupBytes;
      for (int group = 0; group < kLookupBlock / 4; ++group, table += 32)
        for (int set = 0; set < 16; ++set) {
          const int sum = entry(q + 4 * group, set);
          table[set] = static_cast<uint8_t>(sum & ((1 << kLowBits) - 1));
          table[16 + set] = static_cast<uint8_t>((sum >> kLowBits) + kHighBias);
        }
    }
  }
}

void boolean_lookup(const BooleanLookup& p) {
  for (int64_t i = 0; i < p.outputs; ++i) {
    float y = p.bias != nullptr ? p.bias[i] : 0;
    for (int64_t k = 0; k < p.kernels; ++k) {
      const uint8_t* bits = p.tiles + k * p.kernel_stride + i / kTileRows * p.words * kBlockBytes + i % kTileRows;
      float sum = 0;
      for (int64_t word = 0; word < p.words; ++word)
        for (int64_t part = 0; part < p.parts; ++part) {
          const int64_t at = (k * p.parts + part) * p.words + word;
          int block = 0;
          for (int b = 0; b < 8; ++b) {
            const int byte = bits[word * kBlockBytes + b * kTileRows];
            const uint8_t* table = p.tables + at * kLookupBytes + b * 64;
            block += value(table, byte & 15) + value(table + 32, byte >> 4);
          }
          sum = std::fma(p.scales[at], static_cast<float>(block), sum);
        }
      y = std::fma(p.s_out[k * p.s_out_stride + i], sum, y);
    }
    p.y[i] = y;
  }
}

}  // namespace mbok::scalar
