// The ±1 kernels of one layer with their scales: Ŵ = Σₖ diag(s_out[k])·B[k]·diag(s_in[k]).
#pragma once

#include <cstdint>

#include "runtime/tensor.h"

namespace mbok {

struct BooleanLayer {
  int64_t kernels, m, n;
  uint64_t* bits;      // [K·m, n]: kernel k's row i is row k·m + i
  const float* s_out;  // [K, m]; null: all ones
  const float* s_in;   // [K, n]; null: all ones

  int64_t words() const { return words_per_row(n); }
  uint64_t* row(int64_t kernel, int64_t i) const { return bits + (kernel * m + i) * words(); }
};

}  // namespace mbok
