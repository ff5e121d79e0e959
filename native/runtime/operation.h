// What a plan's operation is: a row of the executor's table (plan/table.cc) and the view it gets of one run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/error.h"
#include "runtime/tensor.h"
#include "runtime/thread_pool.h"

namespace mbok {

// Numbers that may differ from run to run of one plan. The order is the order of SCALARS in lib/native/addon.ts.
struct Scalars {
  double rows = 1;             // tokens in this run: rows of every tensor whose row count is left open
  double sequence_length = 1;  // rows is a multiple of it: independent sequences follow one another
  double position = 0;         // of every sequence's first token
  double loss_scale = 1;       // upstream gradient of the loss, 1 / micro-batches
  double flip_rate = 0;        // η of the Boolean optimizer
  double learning_rate = 0;    // of AdamW
  double step = 1;             // AdamW's step, from 1
  double micro_batches = 1;    // in this optimizer step
  double first = 1;            // 1 in the first micro-batch of a step
  double last = 1;             // 1 in the last micro-batch of a step
};
constexpr int kScalarCount = 10;

// One operation of a plan during one run.
struct Call {
  const char* operation;
  const Tensor* inputs;
  int input_count;
  const Tensor* outputs;  // may be written, or read and written where the operation says so
  int output_count;
  const double* attributes;
  int attribute_count;
  const Scalars* scalars;
  ThreadPool* pool;
  std::byte* scratch;  // aligned to 64 bytes; at least what scratch_bytes asked for

  // An optional tensor that the plan leaves out has data == nullptr.
  const Tensor& input(int i) const { return inputs[i]; }
  const Tensor& output(int i) const { return outputs[i]; }
  bool has_input(int i) const { return i < input_count && inputs[i].data != nullptr; }
  bool has_output(int i) const { return i < output_count && outputs[i].data != nullptr; }
  double attribute(int i) const { return attributes[i]; }
  // Throws Error MBOK_SHAPE unless the attribute is an integer of 32 bits. What run() reads so, check() or scratch_bytes()
  // reads first: a plan with another number is never made.
  int64_t integer(int i) const;
};

struct Operation {
  const char* name;
  // Checks counts, types and shapes against one another with every open row count at its maximum; throws Error
  // MBOK_SHAPE. Memory safety rests on it: run() trusts what check() let through.
  void (*check)(const Call& call);
  // Scratch that run() needs at most for these (maximal) shapes on `threads` threads; nullptr for none.
  size_t (*scratch_bytes)(const Call& call, int threads);
  void (*run)(const Call& call);
  // True where the operation changes state that outlives the run (weights, optimizer state): from the first such
  // operation on a run can no longer be aborted, so no update is ever left half applied.
  bool updates_state;
};

// Helpers for check functions. Each throws Error MBOK_SHAPE that names the operation and the tensor.
void expect_counts(const Call& call, int inputs, int outputs, int attributes);
// For operations with trailing optional tensors.
void expect_counts_between(const Call& call, int min_inputs, int max_inputs, int min_outputs, int max_outputs,
                           int attributes);
void expect(const Call& call, bool condition, const char* what);
// Checks a tensor's type and shape; absent optional tensors pass when `optional`.
void expect_tensor(const Call& call, const Tensor& tensor, const char* name, TensorType type, int64_t rows,
                   int64_t cols, bool optional = false);

}  // namespace mbok
