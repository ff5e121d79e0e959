#include "kernels/attention/attention.h"
#include "kernels/simd/target.h"

namespace mbok {

// qᵀ, oᵀ, keys, values: one block each, with d rounded up to 16. Then scores, running maxima and running sums.
int64_t attention_scratch(int64_t d) {
  const int64_t padded = (d + 15) / 16 * 16;
  return (2 * kAttentionQueries + 2 * kAttentionKeys) * padded + kAttentionKeys * kAttentionQueries +
         2 * kAttentionQueries;
}

// qᵀ, doᵀ, dqᵀ, q, do, keys, values; probabilities and their gradients; lse and D. For bf16 also panels of q, of do and
// of ds, and rows of probabilities.
int64_t attention_gradient_scratch(int64_t d) {
  const int64_t padded = (d + 15) / 16 * 16;
  const int64_t panels = (d + kPanelCols - 1) / kPanelCols;
  return (5 * kAttentionQueries + 2 * kAttentionKeys) * padded + 2 * kAttentionKeys * kAttentionQueries +
         2 * kAttentionQueries + (2 * panels + 2) * kAttentionQueries / 2 * kPanelCols;
}

const KernelTable<AttentionFunction> attention_table("attention", {
    MBOK_VECTOR_CANDIDATES(attention)
    {"scalar", kNone, scalar::attention},
});

const KernelTable<AttentionGradientFunction> attention_gradient_table("attention_gradient", {
    MBOK_VECTOR_CANDIDATES(attention_gradient)
    {"scalar", kNone, scalar::attention_gradient},
});

}  // namespace mbok
