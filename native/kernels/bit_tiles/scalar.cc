#include "kernels/bit_tiles/candidates.h"

namespace mbok::scalar {

void tile_bits(const uint64_t* rows, int64_t stride, int64_t count, uint8_t* block) {
  for (int64_t i = 0; i < kTileRows; ++i) {
    const uint64_t word = i < count ? rows[i * stride] : 0;
    for (int b = 0; b < 8; ++b) block[b * kTileRows + i] = static_cast<uint8_t>(word >> 8 * b);
  }
}

void untile_bits(const uint8_t* block, int64_t count, uint64_t* rows, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) {
    uint64_t word = 0;
    for (int b = 0; b < 8; ++b) word |= static_cast<uint64_t>(block[b * kTileRows + i]) << 8 * b;
    rows[i * stride] = word;
  }
}

void bit_planes(const uint8_t* block, uint64_t* planes) {
  for (int j = 0; j < 64; ++j) {
    planes[j] = 0;
    for (int64_t i = 0; i < kTileRows; ++i)
      planes[j] |= static_cast<uint64_t>(block[j / 8 * kTileRows + i] >> j % 8 & 1) << i;
  }
}

}  // namespace mbok::scalar
