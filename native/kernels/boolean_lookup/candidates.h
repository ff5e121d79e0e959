// Candidates of the dispatch tables of boolean_lookup.h.
#pragma once

#include "kernels/boolean_lookup/boolean_lookup.h"

namespace mbok {
namespace scalar {
void boolean_lookup(const BooleanLookup& lookup);
void lookup_tables(const LookupInputs& inputs, uint8_t* tables, float* scales);
}  // namespace scalar
namespace avx2 {
void boolean_lookup(const BooleanLookup& lookup);
void boolean_lookup_pairs(const BooleanLookup& lookup);
void lookup_tables(const LookupInputs& inputs, uint8_t* tables, float* scales);
}  // namespace avx2
namespace avx512 {
void boolean_lookup(const BooleanLookup& lookup);
void boolean_lookup_vbmi(const BooleanLookup& lookup);
void lookup_tables(const LookupInputs& inputs, uint8_t* tables, float* scales);
}  // namespace avx512
namespace neon {
void boolean_lookup(const BooleanLookup& lookup);
void lookup_tables(const LookupInputs& inputs, uint8_t* tables, float* scales);
}  // namespace neon
}  // namespace mbok
