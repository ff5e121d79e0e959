// A plan is a list of operations over planned memory, executed in one call.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {

constexpr int64_t kOpenRows = -1;  // row count = tokens of the run

// Locates a tensor: in a block that outlives the plan (weights, state, inputs) or in the plan's arena.
struct TensorDescription {
  std::shared_ptr<Memory> block;  // null: the plan's arena
  size_t offset = 0;              // bytes, a multiple of 64
  int64_t rows = 0;               // kOpenRows: the run's row count
  int64_t cols = 0;
  TensorType type = TensorType::kF32;
};

enum class Phase : int32_t { kAlways = 0, kFirstMicroBatch = 1, kLastMicroBatch = 2 };

struct OperationDescription {
  std::string name;
  std::vector<int32_t> inputs;  // tensor indices; -1: optional tensor left out
  std::vector<int32_t> outputs;
  std::vector<double> attributes;
  Phase phase = Phase::kAlways;
};

struct PlanDescription {
  size_t arena_bytes = 0;
  int64_t max_rows = 1;
  std::vector<TensorDescription> tensors;
  std::vector<OperationDescription> operations;
};

enum class RunResult { kCompleted, kAborted };

class Plan {
 public:
  // Validates every tensor against its block and every operation against its check; throws Error.
  explicit Plan(PlanDescription description);

  // Runs every operation in order. It blocks, so call it from a worker thread, one run at a time. Throws the Error of
  // an operation (an id out of range, a non-finite loss). `abort` is polled between operations until the first one
  // that updates state.
  RunResult run(const Scalars& scalars, const std::atomic<bool>& abort);

  // Returns a tensor's address and shape, for copying inputs in and outputs out between runs.
  Tensor tensor(int index, int64_t run_rows) const;

  int64_t max_rows() const { return description_.max_rows; }
  size_t arena_bytes() const { return description_.arena_bytes; }
  size_t scratch_bytes() const { return scratch_bytes_; }
  // Seconds spent in each step by all runs so far. Always measured: reading the clock costs 25 ns an operation.
  const std::vector<double>& seconds() const { return seconds_; }

 private:
  struct Step {
    const Operation* operation;
    int first_tensor;  // index into `views_`: inputs, then outputs
  };

  void resolve(int64_t run_rows);
  Call call_of(size_t index, const Scalars* scalars) const;

  PlanDescription description_;
  std::unique_ptr<Memory> arena_;
  std::unique_ptr<Memory> scratch_;
  size_t scratch_bytes_ = 0;
  std::vector<double> seconds_;  // per step
  std::vector<Step> steps_;
  std::vector<int32_t> indices_;  // tensor index of each view
  std::vector<Tensor> views_;     // valid for `resolved_rows_` rows
  int64_t resolved_rows_ = 0;     // row count of the last run
};

}  // namespace mbok
