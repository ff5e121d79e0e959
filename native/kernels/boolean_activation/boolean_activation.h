// The Boolean activation and its gradient (BOLD, arXiv 2405.16339, appendix C).
//
//   boolean_activation: bit j = s[j] ≥ τ, packed least significant first into ⌈cols/64⌉ words, padding zero; NaN: 0
//   boolean_activation_gradient: ds[j] = dy[j]·(1 − tanh²(α·(s[j] − τ)))
//
// The derivative is formed as 4e/(1+e)² with e = exp(−2|u|), which keeps its relative accuracy where tanh is near 1.
// One compare a vector, bound by reading s; the gradient costs an exponential and a division a vector.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

using BooleanActivationFunction = void(const float* s, float threshold, uint64_t* bits, int64_t cols);
using BooleanActivationGradientFunction = void(const float* dy, const float* s, float threshold, float alpha,
                                               float* ds, int64_t count);

extern const KernelTable<BooleanActivationFunction> boolean_activation_table;
extern const KernelTable<BooleanActivationGradientFunction> boolean_activation_gradient_table;

namespace scalar {
BooleanActivationFunction boolean_activation;
BooleanActivationGradientFunction boolean_activation_gradient;
}
MBOK_DECLARE_VECTOR(
BooleanActivationFunction boolean_activation;
BooleanActivationGradientFunction boolean_activation_gradient;
)

}  // namespace mbok
