// The gate of an MLP: y = a(gate) · up, and dgate = dy · up · a'(gate), dup = dy · a(gate), element by element. a is a
// function of kernels/activation/activation.h. One pass and one exponential per element: between memory- and
// compute-bound.
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"
#include "runtime/dispatch.h"

namespace mbok {

// y may be gate or up.
using GatedActivationFunction = void(ActivationKind kind, const float* gate, const float* up, float* y, int64_t count);
// The gradients may be any two different inputs.
using GatedActivationGradientFunction = void(ActivationKind kind, const float* dy, const float* gate, const float* up,
                                             float* dgate, float* dup, int64_t count);

namespace scalar {
GatedActivationFunction gated_activation;
GatedActivationGradientFunction gated_activation_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(GatedActivationFunction gated_activation;
                    GatedActivationGradientFunction gated_activation_gradient;)

extern const KernelTable<GatedActivationFunction> gated_activation_table;
extern const KernelTable<GatedActivationGradientFunction> gated_activation_gradient_table;

}  // namespace mbok
