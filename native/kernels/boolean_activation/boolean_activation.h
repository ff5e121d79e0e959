// The Boolean activation and its gradient (BOLD, arXiv 2405.16339, appendix C).
//
//   boolean_activation: bit j = s[j] ≥ τ, least significant first in ⌈cols/64⌉ words; padding and NaN give 0
//   boolean_activation_gradient: ds[j] = dy[j]·(1 − tanh²(α·(s[j] − τ)))
//
// The derivative is computed as 4e/(1+e)² with e = exp(−2|u|), u = α·(s[j] − τ), which is accurate where tanh is near
// 1. Forward costs one compare per vector and is bound by reading s. The gradient costs an exponential and a division.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

using BooleanActivationFunction = void(const float* s, float threshold, uint64_t* bits, int64_t cols);
using BooleanActivationGradientFunction = void(const float* dy, const float* s, float threshold, float alpha, float* ds,
                                               int64_t count);

extern const KernelTable<BooleanActivationFunction> boolean_activation_table;
extern const KernelTable<BooleanActivationGradientFunction> boolean_activation_gradient_table;

namespace scalar {
BooleanActivationFunction boolean_activation;
BooleanActivationGradientFunction boolean_activation_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(BooleanActivationFunction boolean_activation;
                    BooleanActivationGradientFunction boolean_activation_gradient;)

}  // namespace mbok
