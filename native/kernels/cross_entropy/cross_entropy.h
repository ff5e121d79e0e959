// One row of logits against the token that came: −log softmax(x)_target = logsumexp(x) − x_target, and its gradient
// times `factor`: factor · (softmax(x) − onehot(target)).
//
// Any alignment. Vector versions subtract the maximum, sum the exponentials in f32 over runs of 512 elements and the
// runs in f64, so that a vocabulary of 10⁵ costs no precision. Three passes over a row that L2 holds: compute bound.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

using CrossEntropyFunction = double(const float* logits, int64_t cols, int64_t target);
// dlogits may be logits.
using CrossEntropyGradientFunction = void(const float* logits, int64_t cols, int64_t target, float factor,
                                          float* dlogits);

namespace scalar {
CrossEntropyFunction cross_entropy;
CrossEntropyGradientFunction cross_entropy_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(
CrossEntropyFunction cross_entropy;
CrossEntropyGradientFunction cross_entropy_gradient;
)

extern const KernelTable<CrossEntropyFunction> cross_entropy_table;
extern const KernelTable<CrossEntropyGradientFunction> cross_entropy_gradient_table;

}  // namespace mbok
