// The maximal number of rows for which a multi-Boolean product looks up its tiled bits (decode). More rows are
// multiplied by weights rebuilt from the bits.
//
// The answer is a table by instruction set, precision and number of kernels, measured by `node bench/decode_rows.mjs`.
// It is not measured at start: the two methods round differently, and a model's answer must not depend on the machine's
// load. MBOK_DECODE_ROWS, 0 to 32, overrides the table.
#pragma once

#include <cstdint>

#include "operations/product.h"

namespace mbok {

constexpr int64_t kMostDecodedRows = 32;
constexpr int64_t kDecodedKernels = 8;  // more kernels use the last entry

// `wanted`: the requested precision. Throws Error MBOK_INVALID_ARGUMENT when MBOK_DECODE_ROWS is malformed.
int64_t most_decoded_rows(Precision wanted, int64_t kernels);

}  // namespace mbok
