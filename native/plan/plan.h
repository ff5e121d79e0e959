// A list of operations over planned memory, run in one call.
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

constexpr int64_t kOpenRows = -1;  // as many rows as the run has tokens

// Where a plan finds a tensor: in a block that outlives the plan (weights, state, inputs) or in its own arena.
struct TensorDescription {
  std::shared_ptr<Memory> block;  // null: the plan's arena
  size_t offset = 0;              // bytes, a multiple of 64
  int64_t rows = 0;               // kOpenRows where it is the run's row count
  int64_t cols = 0;
  TensorType type = TensorType::kF32;
};

enum class Phase : int32_t { kAlways = 0, kFirstMicroBatch = 1, kLastMicroBatch = 2 };

struct OperationDescription {
  std::string name;
  std::vector<int32_t> inputs;   // tensor indices; -1 for an optional tensor left out
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

  // Runs every operation in order. Blocking: call from a worker thread; one run at a time. Throws Error where an
  // operation does (an id out of range, a non-finite loss). `abort` is looked at between operations until the first
  // that updates state.
  RunResult run(const Scalars& scalars, const std::atomic<bool>& abort);

  // Current address and extent of a tensor, for copying inputs in and outputs out between runs.
  Tensor tensor(int index, int64_t run_rows) const;

  int64_t max_rows() const { return description_.max_rows; }
  size_t arena_bytes() const { return description_.arena_bytes; }
  size_t scratch_bytes() const { return scratch_bytes_; }
  // Spent in each operation by all runs so far. Reading the clock costs 25 ns an operation: always on.
  const std::vector<double>& seconds() const { return seconds_; }

 private:
  struct Step {
    const Operation* operation;
    int first_tensor;  // into `views_`: inputs, then outputs
  };

  void resolve(int64_t run_rows);
  Call call_of(size_t index, const Scalars* scalars) const;

  PlanDescription description_;
  std::unique_ptr<Memory> arena_;
  std::unique_ptr<Memory> scratch_;
  size_t scratch_bytes_ = 0;
  std::vector<double> seconds_;   // of each step
  std::vector<Step> steps_;
  std::vector<int32_t> indices_;  // tensor index of each view
  std::vector<Tensor> views_;     // resolved for `resolved_rows_`
  int64_t resolved_rows_ = 0;     // of the last run
};

}  // namespace mbok
