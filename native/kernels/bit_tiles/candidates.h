// Candidates of the dispatch tables of bit_tiles.h.
#pragma once

#include "kernels/bit_tiles/bit_tiles.h"

namespace mbok {
namespace scalar {
void tile_bits(const uint64_t* rows, int64_t stride, int64_t count, uint8_t* block);
void untile_bits(const uint8_t* block, int64_t count, uint64_t* rows, int64_t stride);
void bit_planes(const uint8_t* block, uint64_t* planes);
}  // namespace scalar
MBOK_DECLARE_VECTOR(void bit_planes(const uint8_t* block, uint64_t* planes);)
}  // namespace mbok
