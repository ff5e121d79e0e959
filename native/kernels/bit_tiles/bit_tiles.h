// The layout of weight bits for decode: 64 rows side by side.
//
// Layout. A block holds 64 rows by 64 columns in 512 bytes. Byte b · 64 + i holds columns 8b … 8b + 7 of row i, least
// significant bit first. A matrix [m, n] is cut into tiles of 64 rows (the last one padded with zeros), a tile into the
// blocks of its columns, in order. Eight inputs of 64 outputs are 64 neighboring bytes, and a tile is one contiguous
// stream.
//
// Budget. tile_bits and untile_bits run once per load, a byte at a time. bit_planes extracts the signs for the panels
// of a prefill: on AVX-512 8 loads and 64 tests for 4096 weights, against thousands of cycles for their products. NEON
// has no movemask; it transposes squares of 8 × 8 bits (18 operations for two) and sorts their bytes by four look-ups
// in 64 bytes: 76 operations for 512 weights.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kTileRows = 64;
constexpr int64_t kBlockBytes = 512;

// Packs a block of 64 columns from the words rows[i · stride], i < count ≤ 64; rows from count on become zeros.
using TileBitsFunction = void(const uint64_t* rows, int64_t stride, int64_t count, uint8_t* block);
extern const KernelTable<TileBitsFunction> tile_bits_table;

// Unpacks a block: rows[i · stride] for i < count.
using UntileBitsFunction = void(const uint8_t* block, int64_t count, uint64_t* rows, int64_t stride);
extern const KernelTable<UntileBitsFunction> untile_bits_table;

// Extracts columns: bit i of planes[j] = column j of row i, j < 64.
using BitPlanesFunction = void(const uint8_t* block, uint64_t* planes);
extern const KernelTable<BitPlanesFunction> bit_planes_table;

}  // namespace mbok
