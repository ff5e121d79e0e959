// Candidates of the dispatch tables of boolean_decode.h.
#pragma once

#include "kernels/boolean_decode/boolean_decode.h"

namespace mbok {
namespace scalar {
void boolean_decode(const BooleanDecode& decode);
void decode_scale(const float* x, const float* s_in, int64_t n, float* scaled);
}  // namespace scalar
MBOK_DECLARE_VECTOR(void boolean_decode(const BooleanDecode& decode);
                    void decode_scale(const float* x, const float* s_in, int64_t n, float* scaled);)
}  // namespace mbok
