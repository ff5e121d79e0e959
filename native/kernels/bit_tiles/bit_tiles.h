// The order of bits in which decoding reads them: 64 rows side by side.
//
// A block is 64 rows by 64 columns in 512 bytes: byte b · 64 + i holds columns 8b … 8b + 7 of row i, least significant
// first. A matrix [m, n] is cut into tiles of 64 rows (the last one filled up with zeros), a tile into the blocks of its
// columns, all one after another: eight inputs of 64 outputs are 64 neighboring bytes, and a tile is read from its
// first byte to its last.
//
// Budget. tile and untile run once a load, a byte at a time. planes rebuilds the signs of a prompt's panels: on AVX-512
// a load and eight tests for 512 weights, against thousands of cycles for their products. NEON, which has no way to gather
// signs, turns squares of 8 × 8 bits (18 operations for two of them) and sorts their bytes by four look-ups in 64: 76.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kTileRows = 64;
constexpr int64_t kBlockBytes = 512;

// A block of 64 columns from the words rows[i · stride], i < count ≤ 64; rows from count on are zeros.
using TileBitsFunction = void(const uint64_t* rows, int64_t stride, int64_t count, uint8_t* block);
extern const KernelTable<TileBitsFunction> tile_bits_table;

// The other way round: rows[i · stride] for i < count.
using UntileBitsFunction = void(const uint8_t* block, int64_t count, uint64_t* rows, int64_t stride);
extern const KernelTable<UntileBitsFunction> untile_bits_table;

// planes[j] bit i = column j of row i, j < 64.
using BitPlanesFunction = void(const uint8_t* block, uint64_t* planes);
extern const KernelTable<BitPlanesFunction> bit_planes_table;

}  // namespace mbok
