// Runs one operation outside a plan (check, scratch of the requested size, run), on one thread and on three.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
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

inline void run_operation(ThreadPool& pool, const std::string& name, const std::vector<Tensor>& inputs,
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
  constexpr size_t kBeyond = 4096;
  Memory scratch(bytes + kBeyond);
  call.scratch = scratch.data();
  operation.run(call);
  const std::byte* const beyond = scratch.data() + bytes;
  CHECK(std::all_of(beyond, beyond + kBeyond, [](std::byte b) { return b == std::byte{0}; }),
        std::string(name) + " writes beyond its scratch");
}

// Pools are never destroyed, so there is one of each size.
inline ThreadPool& one_thread() {
  static ThreadPool& pool = *new ThreadPool(1);
  return pool;
}
inline ThreadPool& three_threads() {
  static ThreadPool& pool = *new ThreadPool(3);
  return pool;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Returns the outputs of run(pool, outputs), which writes into vectors that start as `start`. Requires the same bits of
// 1 and 3 threads.
template <class Run>
std::vector<std::vector<float>> same_for_any_threads(const std::vector<std::vector<float>>& start,
                                                     const std::string& name, Run run) {
  std::vector<std::vector<float>> first = start, second = start;
  run(one_thread(), first);
  run(three_threads(), second);
  for (size_t i = 0; i < first.size(); ++i) CHECK(same_bits(first[i], second[i]), "threads: " + name);
  return first;
}

// The same for one output.
template <class Run>
std::vector<float> for_any_threads(const std::vector<float>& start, const std::string& name, Run run) {
  std::vector<float> first = start, second = start;
  run(one_thread(), first);
  run(three_threads(), second);
  CHECK(same_bits(first, second), "threads: " + name);
  return first;
}

// The shape of a linear layer.
struct LinearShape {
  int64_t rows, m, n;
  std::string name() const { return std::to_string(rows) + " rows, " + std::to_string(m) + " x " + std::to_string(n); }
};

}  // namespace mbok::test
