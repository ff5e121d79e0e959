// The candidates behind the tables of boolean_decode.h.
#pragma once

#include "kernels/boolean_decode/boolean_decode.h"

namespace mbok {
namespace scalar {
void boolean_decode(const BooleanDecode& decode);
void decode_scale(const float* x, const float* s_in, int64_t n, float* scaled);
}  // namespace scalar
namespace avx2 {
void boolean_decode(const BooleanDecode& decode);
void decode_scale(const float* x, const float* s_in, int64_t n, float* scaled);
}  // namespace avx2
namespace avx512 {
void boolean_decode(const BooleanDecode& decode);
void decode_scale(const float* x, const float* s_in, int64_t n, float* scaled);
}  // namespace avx512
}  // namespace mbok
