// Candidates of the dispatch tables of boolean_panel.h.
#pragma once

#include "kernels/boolean_panel/boolean_panel.h"

namespace mbok {
namespace scalar {
void boolean_panel_f32(const BooleanPanel& source, void* panel);
void boolean_panel_bf16(const BooleanPanel& source, void* panel);
void boolean_panel_i8(const BooleanPanel& source, void* panel);
void bit_transpose(const uint64_t* rows, int64_t stride, int64_t count, uint64_t* out);
}  // namespace scalar
namespace avx2 {
void boolean_panel_f32(const BooleanPanel& source, void* panel);
void boolean_panel_i8(const BooleanPanel& source, void* panel);
}  // namespace avx2
namespace avx512 {
void boolean_panel_f32(const BooleanPanel& source, void* panel);
void boolean_panel_bf16(const BooleanPanel& source, void* panel);
void boolean_panel_i8(const BooleanPanel& source, void* panel);
void bit_transpose(const uint64_t* rows, int64_t stride, int64_t count, uint64_t* out);
}  // namespace avx512
namespace neon {
void boolean_panel_f32(const BooleanPanel& source, void* panel);
void boolean_panel_i8(const BooleanPanel& source, void* panel);
}  // namespace neon
}  // namespace mbok
