// One AdamW step, element by element (Loshchilov & Hutter, arXiv 1711.05101, in PyTorch's order):
//
//   g' = scale·g;  p ← p·(1 − lr·decay);  m ← β₁·m + (1 − β₁)·g';  v ← β₂·v + (1 − β₂)·g'²
//   p ← p − (lr / (1 − β₁ᵗ)) · m / (√v / √(1 − β₂ᵗ) + eps)
//
// All f32 without fused products, so every ISA gives the same bits. An element reads 16 bytes and writes 12; a vector
// costs one division and one square root. Memory-bound outside the caches.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

struct AdamwStep {
  float scale;  // of the gradient (clipping)
  float keep;   // 1 − lr·decay
  float beta1, beta2;
  float one_minus_beta1, one_minus_beta2;
  float rate;  // lr / (1 − β₁ᵗ)
  float root;  // 1 / √(1 − β₂ᵗ)
  float eps;
};

using AdamwFunction = void(const float* g, float* p, float* m, float* v, int64_t count, const AdamwStep& step);

extern const KernelTable<AdamwFunction> adamw_table;

namespace scalar {
AdamwFunction adamw;
}
MBOK_DECLARE_VECTOR(AdamwFunction adamw;)

}  // namespace mbok
