#include "kernels/dequantize/dequantize.h"

namespace mbok {

const KernelTable<DequantizeFunction> dequantize_table("dequantize", {
    {"scalar", kNone, scalar::dequantize},
});

const BlockType* find_block_type(int64_t id) {
  static constexpr BlockType kTypes[] = {
      {0, 1, 4},       // F32
      {1, 1, 2},       // F16
      {30, 1, 2},      // BF16
      {2, 32, 18, true},     // Q4_0
      {3, 32, 20},     // Q4_1
      {6, 32, 22, true},     // Q5_0
      {7, 32, 24},     // Q5_1
      {8, 32, 34, true},     // Q8_0
      {20, 32, 18, true},    // IQ4_NL
      {10, 256, 84},   // Q2_K
      {11, 256, 110},  // Q3_K
      {12, 256, 144},  // Q4_K
      {13, 256, 176},  // Q5_K
      {14, 256, 210},  // Q6_K
  };
  for (const BlockType& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

}  // namespace mbok
