// What a row of logits is judged by: the token that came, another model's logits, or what is kept of them. Each knows
// its loss and its gradient in place, so that head_loss need not know which it is.
#pragma once

#include <cstdint>

#include "runtime/tensor.h"

namespace mbok {

// A distribution as kept by top_tokens: of every row `count` tokens with the logarithms of their probabilities, then
// the logarithm of what is left for all others.
struct KeptTokens {
  const int32_t* ids;        // [rows, count], checked, all different within a row
  const float* log_values;   // [rows, count + 1]
  int64_t count;             // less than the vocabulary
};

// KL(kept ‖ softmax(logits)) of one row over the kept tokens and all others as one. With `gradient` the logits are
// replaced by factor times their gradient, else they are left in disorder. `scratch`: count floats.
double kept_divergence(const KeptTokens& kept, int64_t row, float* logits, int64_t cols, bool gradient, float factor,
                       float* scratch);

}  // namespace mbok
