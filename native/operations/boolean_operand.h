// Multi-Boolean weights Ŵ = Σ_k diag(s_out[k])·B[k]·diag(s_in[k]) as the packed operand of a product: rebuilt panel by
// panel, never whole.
#pragma once

#include "kernels/boolean_panel/boolean_panel.h"
#include "operations/panel_product.h"

namespace mbok {

struct MultiBoolean {
  const uint64_t* bits;  // [kernels·m, n]
  const float* s_out;    // [kernels, m]
  const float* s_in;     // [kernels, n]
  int64_t kernels, m, n;
};

// The tensors `first`, first + 1, first + 2 of the call's inputs: kernels, s_out, s_in.
MultiBoolean multi_boolean(const Call& call, int first);
// Checks them; returns m and n.
MultiBoolean expect_multi_boolean(const Call& call, int first);

// Which dimension of Ŵ the product sums over.
enum class Depth { kColumns /* Y = X·Ŵᵀ */, kRows /* dX = dY·Ŵ */ };

class BooleanOperand final : public PanelOperand {
 public:
  BooleanOperand(const MultiBoolean& weights, Depth depth, Precision precision);
  void pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
            std::byte* scratch) const override;
  size_t scratch_bytes() const override;

 private:
  MultiBoolean weights_;
  Depth depth_;
  BooleanPanelFunction* panel_;
  BitTransposeFunction* transpose_;
};

}  // namespace mbok
