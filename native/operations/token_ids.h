// Token ids come from outside and index memory.
#pragma once

#include <string>

#include "runtime/operation.h"

namespace mbok {

// Throws Error MBOK_INVALID_ARGUMENT unless every id lies in [smallest, vocabulary).
inline void require_ids_in_range(const Tensor& ids, int64_t vocabulary, int64_t smallest = 0) {
  for (int64_t r = 0; r < ids.rows; ++r)
    if (ids.i32()[r] < smallest || ids.i32()[r] >= vocabulary)
      throw Error("MBOK_INVALID_ARGUMENT", "token id " + std::to_string(ids.i32()[r]) + " at row " +
                                               std::to_string(r) + " lies outside the vocabulary of " +
                                               std::to_string(vocabulary));
}

}  // namespace mbok
