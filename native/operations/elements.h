// Cuts element-wise operations into tasks, by the size alone.
#pragma once

#include <cstdint>

#include "runtime/thread_pool.h"

namespace mbok {

// Calls body(first element, number of elements) for runs of 16384 elements: 64 KiB of each operand.
template <class Body>
void for_element_tasks(ThreadPool& pool, int64_t size, Body&& body) {
  constexpr int64_t kElements = 16384;
  pool.parallel_for((size + kElements - 1) / kElements, [&](int64_t task, int) {
    const int64_t first = task * kElements;
    body(first, size - first < kElements ? size - first : kElements);
  });
}

}  // namespace mbok
