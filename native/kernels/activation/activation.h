// Activations y = a(x) and their gradients dx = dy · a'(x), element by element, for
//   silu       x σ(x)
//   gelu       x Φ(x), Φ the normal distribution function (by erf)
//   gelu_tanh  x (1 + tanh u) / 2 = x σ(2u), u = √(2/π) (x + 0.044715 x³)
//   relu       max(x, 0), slope 0 at 0
// Vector versions are within 1e-6 · (1 + |y|) of the scalar reference. NaN in, NaN out.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

// Plans contain these numbers, so lib/graph/operations/activation.ts repeats them.
enum class ActivationKind : int32_t { kSilu = 0, kGelu = 1, kGeluTanh = 2, kRelu = 3 };
constexpr int kActivationKinds = 4;

// y may be x; dx may be dy.
using ActivationFunction = void(ActivationKind kind, const float* x, float* y, int64_t count);
using ActivationGradientFunction = void(ActivationKind kind, const float* dy, const float* x, float* dx, int64_t count);

namespace scalar {
ActivationFunction activation;
ActivationGradientFunction activation_gradient;
// One element; gated_activation's scalar reference uses it too.
double activation_value(ActivationKind kind, double x);
double activation_slope(ActivationKind kind, double x);
}  // namespace scalar
MBOK_DECLARE_VECTOR(ActivationFunction activation; ActivationGradientFunction activation_gradient;)

extern const KernelTable<ActivationFunction> activation_table;
extern const KernelTable<ActivationGradientFunction> activation_gradient_table;

}  // namespace mbok
