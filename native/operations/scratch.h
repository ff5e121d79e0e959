// Cuts an operation's scratch into aligned pieces. The same code computes the size (base nullptr: every piece is null)
// and the pieces, so the two always agree.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/memory.h"

namespace mbok {

class Scratch {
 public:
  explicit Scratch(std::byte* base) : base_(base) {}

  template <class T>
  T* take(int64_t count) {
    const size_t offset = used_;
    used_ += align_up(static_cast<size_t>(count) * sizeof(T));
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + offset);
  }

  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

}  // namespace mbok
