// Multi-Boolean weights Ŵ = Σ_k diag(s_out[k])·B[k]·diag(s_in[k]) as the packed operand of a product. They are rebuilt
// panel by panel; Ŵ never exists as a whole.
#pragma once

#include "kernels/boolean_panel/boolean_panel.h"
#include "operations/boolean_layer.h"
#include "operations/panel_product.h"

namespace mbok {

// The dimension of Ŵ that the product sums over.
enum class Depth { kColumns /* Y = X·Ŵᵀ */, kRows /* dX = dY·Ŵ */ };

class BooleanOperand final : public PanelOperand {
 public:
  // The layer must have both scales, and bits in rows if the depth is kRows.
  BooleanOperand(const BooleanLayer& weights, Depth depth, Precision precision);
  void pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
            std::byte* scratch) const override;
  bool has_source() const override { return weights_.tiles != nullptr; }
  BooleanPanels source(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth) const override;
  size_t scratch_bytes() const override;

 private:
  BooleanLayer weights_;
  Depth depth_;
  BooleanPanelFunction* panel_;
  BitTransposeFunction* transpose_;
  BitPlanesFunction* planes_;
};

}  // namespace mbok
