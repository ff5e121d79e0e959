#include "operations/decode_rows.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "runtime/cpu.h"
#include "runtime/error.h"

namespace mbok {
namespace {

struct Measured {
  uint32_t needs;                   // Feature bits
  int8_t rows[3][kDecodedKernels];  // for f32, bf16 and int8
};

// Best first. Layers of 2048 × 4096 with bits from memory, on two cores of Granite Rapids (AMX) or of Zen 5 (the
// others). At the last row both methods take the same time; at half as many rows rebuilding takes 1.3 to 2 times as
// long.
constexpr Measured kMeasured[] = {
    // int8 is multiplied as bf16
    {kAmxBf16, {{32, 32, 32, 20, 14, 8, 8, 8}, {32, 20, 16, 14, 12, 12, 11, 11}, {32, 20, 16, 14, 12, 12, 11, 11}}},
    {kAvx512, {{32, 32, 16, 8, 7, 6, 5, 4}, {32, 32, 20, 20, 18, 16, 12, 10}, {32, 32, 32, 28, 26, 24, 24, 24}}},
    {kAvxVnni, {{32, 32, 20, 12, 10, 8, 6, 4}, {32, 32, 32, 32, 30, 28, 26, 24}, {32, 32, 28, 24, 24, 24, 24, 24}}},
    {kAvx2, {{32, 32, 20, 12, 10, 8, 6, 4}, {32, 32, 32, 32, 32, 32, 32, 32}, {32, 32, 32, 32, 32, 32, 32, 32}}},
    // not measured: where decode certainly pays
    {kNone, {{6, 3, 2, 2, 2, 2, 2, 2}, {6, 3, 2, 2, 2, 2, 2, 2}, {6, 3, 2, 2, 2, 2, 2, 2}}},
};

// Returns MBOK_DECODE_ROWS, or −1 if it is not set.
int64_t forced_rows() {
  const char* text = std::getenv("MBOK_DECODE_ROWS");
  if (text == nullptr || *text == '\0') return -1;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0' || value < 0 || value > kMostDecodedRows)
    throw Error("MBOK_INVALID_ARGUMENT",
                "MBOK_DECODE_ROWS must be an integer from 0 to 32, got '" + std::string(text) + "'");
  return value;
}

const Measured& measured() {
  const Measured* best = kMeasured;
  while ((cpu_features() & best->needs) != best->needs) ++best;
  return *best;
}

}  // namespace

int64_t most_decoded_rows(Precision wanted, int64_t kernels) {
  static const int64_t forced = forced_rows();
  static const Measured& table = measured();
  return forced >= 0 ? forced : table.rows[static_cast<int>(wanted)][std::min(kernels, kDecodedKernels) - 1];
}

}  // namespace mbok
