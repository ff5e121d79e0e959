// Up to how many rows a multi-Boolean product looks up its tiled bits; more rows are multiplied with weights rebuilt from
// them.
//
// The answer is a table by instruction set, precision and number of kernels, measured once (`node bench/decode_rows.mjs`)
// and not at every start: the two ways round differently, and a model should not answer differently because another program
// was busy while it was loaded. MBOK_DECODE_ROWS, 0 to 32, takes the place of the table.
#pragma once

#include <cstdint>

#include "operations/product.h"

namespace mbok {

constexpr int64_t kMostDecodedRows = 32;
constexpr int64_t kDecodedKernels = 8;  // more are treated as so many

// `wanted`: the precision as it was asked for. Throws Error MBOK_INVALID_ARGUMENT where MBOK_DECODE_ROWS is malformed.
int64_t most_decoded_rows(Precision wanted, int64_t kernels);

}  // namespace mbok
