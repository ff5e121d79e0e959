// Candidates of the dispatch tables of dense_panel.h.
#pragma once

#include "kernels/dense_panel/dense_panel.h"

namespace mbok {
namespace scalar {
void dense_panel_rows_f32(const PanelSource& source, void* panel);
void dense_panel_rows_bf16(const PanelSource& source, void* panel);
void dense_panel_columns_f32(const PanelSource& source, void* panel);
void dense_panel_columns_bf16(const PanelSource& source, void* panel);
void bf16_convert(const float* x, int64_t rows, int64_t cols, uint16_t* y);
void int8_row(const float* x, int64_t cols, void* y);
}  // namespace scalar
namespace avx2 {
void dense_panel_rows_f32(const PanelSource& source, void* panel);
void dense_panel_columns_f32(const PanelSource& source, void* panel);
void int8_row(const float* x, int64_t cols, void* y);
}  // namespace avx2
namespace avx512 {
void dense_panel_rows_f32(const PanelSource& source, void* panel);
void dense_panel_columns_f32(const PanelSource& source, void* panel);
void dense_panel_rows_bf16(const PanelSource& source, void* panel);
void dense_panel_columns_bf16(const PanelSource& source, void* panel);
void bf16_convert(const float* x, int64_t rows, int64_t cols, uint16_t* y);
void int8_row(const float* x, int64_t cols, void* y);
}  // namespace avx512
namespace neon {
void dense_panel_rows_f32(const PanelSource& source, void* panel);
void dense_panel_columns_f32(const PanelSource& source, void* panel);
void int8_row(const float* x, int64_t cols, void* y);
}  // namespace neon
}  // namespace mbok
