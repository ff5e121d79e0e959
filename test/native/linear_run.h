// Runs one operation outside a plan: check, scratch of the size it asks for, run.
#pragma once

#include <vector>

#include "plan/table.h"
#include "runtime/memory.h"
#include "test.h"

namespace mbok::test {

inline Tensor matrix(const std::vector<float>& values, int64_t rows, int64_t cols) {
  return {const_cast<float*>(values.data()), rows, cols, TensorType::kF32};
}

inline Tensor bit_matrix(const std::vector<uint64_t>& words, int64_t rows, int64_t cols) {
  return {const_cast<uint64_t*>(words.data()), rows, cols, TensorType::kBits};
}

inline void run_operation(ThreadPool& pool, const char* name, const std::vector<Tensor>& inputs,
                          const std::vector<Tensor>& outputs, const std::vector<double>& attributes,
                          const Scalars& scalars = {}) {
  const Operation& operation = find_operation(name);
  Call call = {operation.name,
               inputs.data(),
               static_cast<int>(inputs.size()),
               outputs.data(),
               static_cast<int>(outputs.size()),
               attributes.data(),
               static_cast<int>(attributes.size()),
               &scalars,
               &pool,
               nullptr};
  operation.check(call);
  const size_t bytes = operation.scratch_bytes != nullptr ? operation.scratch_bytes(call, pool.threads()) : 0;
  Memory scratch(bytes);
  call.scratch = scratch.data();
  operation.run(call);
}

}  // namespace mbok::test
