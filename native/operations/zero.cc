// x ← 0, for any type: gradient buffers at the first micro-batch. It does not update state: every step clears the
// buffers again, so a run may still be aborted after it.
#include <cstring>

#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr size_t kChunk = 1 << 18;  // bytes per task

void check(const Call& call) { expect_counts(call, 0, 1, 0); }

void run(const Call& call) {
  auto* const data = static_cast<std::byte*>(call.output(0).data);
  const size_t bytes = call.output(0).bytes();
  call.pool->parallel_for(static_cast<int64_t>((bytes + kChunk - 1) / kChunk), [=](int64_t task, int) {
    const size_t at = static_cast<size_t>(task) * kChunk;
    std::memset(data + at, 0, bytes - at < kChunk ? bytes - at : kChunk);
  });
}

}  // namespace

extern const Operation zero_operation;
const Operation zero_operation = {"zero", check, nullptr, run, false};

}  // namespace mbok
