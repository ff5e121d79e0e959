// Plans over overlapping memory. Whatever the numbers become, no operation may leave its tensors (AddressSanitizer
// watches). Shapes that do not agree at every number of rows are refused.
#include "plan/plan.h"

#include <cstring>

#include "run.h"

namespace mbok {
namespace {

using test::Random;

constexpr TensorType kF32 = TensorType::kF32, kI32 = TensorType::kI32, kBits = TensorType::kBits;

// One operation over tensors at any offsets in one block.
struct Overlapping {
  std::shared_ptr<Memory> memory = std::make_shared<Memory>(1 << 16);
  PlanDescription description;

  int32_t tensor(size_t offset, int64_t rows, int64_t cols, TensorType type) {
    description.tensors.push_back({memory, offset, rows, cols, type});
    return static_cast<int32_t>(description.tensors.size()) - 1;
  }
  float* f32(size_t offset) { return reinterpret_cast<float*>(memory->data() + offset); }
  // Returns true if it ran to its end; an Error is as good.
  bool run(OperationDescription operation) {
    description.operations = {std::move(operation)};
    Plan plan(description);
    try {
      return plan.run(Scalars{}, std::atomic<bool>{false}) == RunResult::kCompleted;
    } catch (const Error&) {
      return false;
    }
  }
};

TEST("plan: rows written over ids are not taken for ids") {
  for (const bool forward : {true, false}) {
    Overlapping o;  // every id is 0
    const int32_t ids = o.tensor(0, 64, 1, kI32), rows = o.tensor(forward ? 0 : 4096, 64, 8, kF32);
    const int32_t table = o.tensor(forward ? 4096 : 0, 2, 8, kF32);
    for (int i = 0; i < 8; ++i) o.f32(4096)[i] = -1e30f;  // as an index: far away
    if (forward)
      CHECK(o.run({"embedding", {table, ids}, {rows}, {}}), "embedding");
    else
      CHECK(o.run({"embedding_gradient", {rows, ids}, {table}, {}}), "embedding_gradient");
  }
}

TEST("plan: an order of columns that overlaps the matrix it is taken from, or the signs it gives") {
  constexpr int64_t kSize = 48;
  Random random(1);
  Overlapping factor;
  for (int64_t i = 0; i < kSize * kSize; ++i) factor.f32(0)[i] = 0.01f * random.normal();
  for (int64_t i = 0; i < kSize; ++i) factor.f32(0)[i * kSize + i] = 2 + random.normal() / 4;
  const int32_t h = factor.tensor(0, kSize, kSize, kF32), u = factor.tensor(1 << 15, kSize, kSize, kF32);
  CHECK(factor.run({"compensation_factor", {h}, {u, factor.tensor(0, kSize, 1, kI32)}, {0.01}}), "factor");

  Overlapping signs;
  for (int64_t j = 0; j < kSize; ++j) {
    reinterpret_cast<int32_t*>(signs.memory->data())[j] = static_cast<int32_t>(j);
    signs.f32(1 << 15)[j * kSize + j] = 1;
  }
  const int32_t target = signs.tensor(4096, kSize, kSize, kF32), identity = signs.tensor(1 << 15, kSize, kSize, kF32);
  const int32_t order = signs.tensor(0, kSize, 1, kI32), scales = signs.tensor(2048, 1, kSize, kF32);
  const int32_t bits = signs.tensor(0, kSize, kSize, kBits);
  CHECK(signs.run({"compensated_signs", {target, identity, order, scales, scales}, {bits}, {}}), "signs");
}

TEST("plan: fixed rows do not stand for open ones, even where they are equal") {
  for (const int64_t rows : {int64_t{4}, kOpenRows}) {
    Overlapping o;
    o.description.max_rows = 4;
    const int32_t logits = o.tensor(0, kOpenRows, 8, kF32), targets = o.tensor(4096, rows, 1, kI32);
    const int32_t loss = o.tensor(8192, 1, 1, kF32);
    bool refused = false;
    try {
      o.run({"cross_entropy", {logits, targets}, {loss}, {}});
    } catch (const Error& error) {
      refused = std::strcmp(error.code(), "MBOK_SHAPE") == 0;
    }
    CHECK(refused == (rows != kOpenRows), std::to_string(rows));
  }
}

}  // namespace
}  // namespace mbok
