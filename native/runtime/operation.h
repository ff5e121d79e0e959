// An operation of a plan: an entry of the executor's table (plan/table.cc) and its arguments during one run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/error.h"
#include "runtime/tensor.h"
#include "runtime/thread_pool.h"

namespace mbok {

// Numbers that may differ between runs of one plan, in the order of SCALARS in lib/native/addon.ts.
struct Scalars {
  double rows = 1;             // tokens in this run: row count of every tensor with open rows
  double sequence_length = 1;  // divides rows: independent sequences follow one another
  double position = 0;         // of the first token of every sequence
  double loss_scale = 1;       // upstream gradient of the loss, 1 / micro-batches
  double flip_rate = 0;        // η of the Boolean optimizer
  double learning_rate = 0;    // of AdamW
  double step = 1;             // of AdamW, from 1
  double micro_batches = 1;    // in this optimizer step
  double first = 1;            // 1 in the first micro-batch of a step
  double last = 1;             // 1 in the last micro-batch of a step
  // Rows that products choose their algorithm by, where it depends on the number of rows and so rounds differently; 0: their
  // own. Texts that are decoded side by side pass 1, so that each has the bits that it has alone.
  double path_rows = 0;
};
constexpr int kScalarCount = 11;

// The arguments of one operation during one run.
struct Call {
  const char* operation;
  const Tensor* inputs;
  int input_count;
  const Tensor* outputs;  // written, or read and written where the operation says so
  int output_count;
  const double* attributes;
  int attribute_count;
  const Scalars* scalars;
  ThreadPool* pool;
  std::byte* scratch;  // aligned to 64 bytes; at least scratch_bytes() long

  // data == nullptr for an optional tensor that the plan leaves out.
  const Tensor& input(int i) const { return inputs[i]; }
  const Tensor& output(int i) const { return outputs[i]; }
  bool has_input(int i) const { return i < input_count && inputs[i].data != nullptr; }
  bool has_output(int i) const { return i < output_count && outputs[i].data != nullptr; }
  double attribute(int i) const { return attributes[i]; }
  // Returns an attribute as an integer; throws Error MBOK_SHAPE unless it is an integer of 32 bits. Every
  // attribute that run() reads this way is read first by check() or scratch_bytes(), so no plan holds an invalid one.
  int64_t integer(int i) const;
};

struct Operation {
  const char* name;
  // Checks counts, types and shapes against one another, with one row and with max_rows open rows. Throws Error
  // MBOK_SHAPE. Memory safety rests on it: run() does not check again.
  void (*check)(const Call& call);
  // Returns the scratch bytes that run() needs for these (maximal) shapes on `threads` threads; nullptr: none.
  size_t (*scratch_bytes)(const Call& call, int threads);
  void (*run)(const Call& call);
  // True for an operation that changes state beyond the run (weights, optimizer state). A run ignores `abort` from its
  // first such operation on, so that no update is half applied.
  bool updates_state;
};

// Helpers for check functions. Each throws Error MBOK_SHAPE with the names of the operation and of the tensor.
void expect_counts(const Call& call, int inputs, int outputs, int attributes);
// As expect_counts, with trailing optional tensors.
void expect_counts_between(const Call& call, int min_inputs, int max_inputs, int min_outputs, int max_outputs,
                           int attributes);
void expect(const Call& call, bool condition, const char* what);
// Checks a tensor's type and shape; absent tensors pass when `optional`.
void expect_tensor(const Call& call, const Tensor& tensor, const char* name, TensorType type, int64_t rows,
                   int64_t cols, bool optional = false);

}  // namespace mbok
