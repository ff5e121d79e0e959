// Token ids come from outside and index memory, so they are checked.
#pragma once

#include <cstddef>
#include <string>

#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {

inline size_t ids_bytes(const Tensor& ids) { return align_up(static_cast<size_t>(ids.rows) * sizeof(int32_t)); }

// Returns a copy of the ids in `scratch` (ids_bytes), all in [smallest, vocabulary); throws Error MBOK_INVALID_ARGUMENT
// otherwise. A copy, because the tensor's memory may change during the operation: it may overlap an output or be
// written by the caller.
inline const int32_t* checked_ids(const Tensor& ids, int64_t vocabulary, int64_t smallest, std::byte* scratch) {
  int32_t* const copy = reinterpret_cast<int32_t*>(scratch);
  for (int64_t r = 0; r < ids.rows; ++r) {
    const int32_t id = ids.i32()[r];
    if (id < smallest || id >= vocabulary)
      throw Error("MBOK_INVALID_ARGUMENT", "token id " + std::to_string(id) + " at row " + std::to_string(r) +
                                               " lies outside the vocabulary of " + std::to_string(vocabulary));
    copy[r] = id;
  }
  return copy;
}

}  // namespace mbok
