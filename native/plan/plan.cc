#include "plan/plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "plan/table.h"

namespace mbok {
namespace {

[[noreturn]] void invalid(const std::string& message) { throw Error("MBOK_INVALID_ARGUMENT", message); }

// Returns the bytes of a tensor. Dimensions are positive and below 2^31, so no product of two overflows.
size_t checked_bytes(const TensorDescription& t, int64_t rows, size_t index) {
  constexpr int64_t kLimit = (int64_t{1} << 31) - 1;
  if (rows < 1 || rows > kLimit || t.cols < 1 || t.cols > kLimit)
    invalid("tensor " + std::to_string(index) + " has an impossible shape");
  if (static_cast<int32_t>(t.type) < 0 || static_cast<int32_t>(t.type) > static_cast<int32_t>(kLastTensorType))
    invalid("tensor " + std::to_string(index) + " has an unknown type");
  return static_cast<size_t>(rows) * row_bytes(t.type, t.cols);  // < 2^31 · 2^33: fits
}

}  // namespace

Plan::Plan(PlanDescription description) : description_(std::move(description)) {
  const PlanDescription& d = description_;
  if (d.max_rows < 1) invalid("a plan needs at least one row");
  arena_ = std::make_unique<Memory>(d.arena_bytes);
  for (size_t i = 0; i < d.tensors.size(); ++i) {
    const TensorDescription& t = d.tensors[i];
    const size_t available = t.block ? t.block->bytes() : d.arena_bytes;
    const size_t needed = checked_bytes(t, t.rows == kOpenRows ? d.max_rows : t.rows, i);
    if (t.offset % kAlignment != 0 || t.offset > available || needed > available - t.offset)
      invalid("tensor " + std::to_string(i) + " does not lie within its memory");
  }
  for (const OperationDescription& o : d.operations) {
    steps_.push_back({&find_operation(o.name), static_cast<int>(indices_.size())});
    for (const std::vector<int32_t>* list : {&o.inputs, &o.outputs})
      for (const int32_t index : *list) {
        if (index < -1 || index >= static_cast<int64_t>(d.tensors.size()))
          invalid("operation '" + o.name + "' names a tensor that the plan lacks");
        indices_.push_back(index);
      }
  }
  views_.resize(indices_.size());
  seconds_.resize(steps_.size());
  const Scalars scalars;
  // Check at one row and at max_rows; shapes that agree at both agree in between. A fixed row count equal to max_rows
  // passes the second check only, and a run with fewer rows would read out of bounds.
  resolve(1);
  for (size_t i = 0; i < steps_.size(); ++i) steps_[i].operation->check(call_of(i, &scalars));
  resolve(d.max_rows);
  const int threads = ThreadPool::shared().threads();
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Call call = call_of(i, &scalars);
    steps_[i].operation->check(call);
    if (steps_[i].operation->scratch_bytes != nullptr)
      scratch_bytes_ = std::max(scratch_bytes_, steps_[i].operation->scratch_bytes(call, threads));
  }
  scratch_ = std::make_unique<Memory>(scratch_bytes_);
}

Tensor Plan::tensor(int index, int64_t run_rows) const {
  const TensorDescription& t = description_.tensors[static_cast<size_t>(index)];
  std::byte* base = t.block ? t.block->data() : arena_->data();
  return {base + t.offset, t.rows == kOpenRows ? run_rows : t.rows, t.cols, t.type};
}

void Plan::resolve(int64_t run_rows) {
  if (run_rows == resolved_rows_) return;
  resolved_rows_ = run_rows;
  for (size_t i = 0; i < indices_.size(); ++i) views_[i] = indices_[i] < 0 ? Tensor{} : tensor(indices_[i], run_rows);
}

Call Plan::call_of(size_t index, const Scalars* scalars) const {
  const OperationDescription& o = description_.operations[index];
  const Tensor* first = views_.data() + steps_[index].first_tensor;
  return {steps_[index].operation->name,
          first,
          static_cast<int>(o.inputs.size()),
          first + o.inputs.size(),
          static_cast<int>(o.outputs.size()),
          o.attributes.data(),
          static_cast<int>(o.attributes.size()),
          scalars,
          &ThreadPool::shared(),
          scratch_ ? scratch_->data() : nullptr};
}

RunResult Plan::run(const Scalars& scalars, const std::atomic<bool>& abort) {
  const double rows = scalars.rows, length = scalars.sequence_length;
  if (!(rows >= 1 && rows <= static_cast<double>(description_.max_rows) && rows == std::floor(rows)))
    invalid("rows must be an integer from 1 to " + std::to_string(description_.max_rows));
  if (!(length >= 1 && length <= rows && length == std::floor(length) && std::fmod(rows, length) == 0))
    invalid("sequence length must be an integer that divides the number of rows");
  if (!(scalars.position >= 0 && scalars.position < 1e9 && scalars.position == std::floor(scalars.position)))
    invalid("position must be an integer from 0");
  resolve(static_cast<int64_t>(rows));
  bool committed = false;
  auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Phase phase = description_.operations[i].phase;
    if (phase == Phase::kFirstMicroBatch && scalars.first == 0) continue;
    if (phase == Phase::kLastMicroBatch && scalars.last == 0) continue;
    if (!committed && abort.load(std::memory_order_relaxed)) return RunResult::kAborted;
    committed = committed || steps_[i].operation->updates_state;
    steps_[i].operation->run(call_of(i, &scalars));
    const auto end = std::chrono::steady_clock::now();
    seconds_[i] += std::chrono::duration<double>(end - start).count();
    start = end;
  }
  return RunResult::kCompleted;
}

}  // namespace mbok
