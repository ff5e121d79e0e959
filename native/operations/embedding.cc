// y[r] = table[ids[r]], in f32; without ids all rows in the order of the tokens.
//   table? [V,h], ids? i32 [R,1], scales? [V,1], kernels?, s_out?, s_in?, marks? (a table as in table.h) → y [R,h]
#include "operations/rows.h"
#include "operations/scratch.h"
#include "operations/table.h"
#include "operations/token_ids.h"

namespace mbok {
namespace {

constexpr int kIds = 1;
constexpr TablePlaces kTable = {0, 2, 3};

void check(const Call& call) {
  expect_counts_between(call, 0, 7, 1, 1, 0);
  expect_table(call, kTable, "table");
  const Table table(call, kTable);
  const int64_t rows = call.has_input(kIds) ? call.input(kIds).rows : table.rows();
  if (call.has_input(kIds)) expect_tensor(call, call.input(kIds), "ids", TensorType::kI32, rows, 1);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, rows, table.cols());
}

struct Pieces {
  Pieces(const Call& call, std::byte* base) {
    Scratch scratch(base);
    if (call.has_input(kIds)) ids = scratch.take<std::byte>(static_cast<int64_t>(ids_bytes(call.input(kIds))));
    rows = scratch.take<float>(TableRows::scratch_floats(Table(call, kTable)));
    bytes = scratch.used();
  }
  std::byte* ids = nullptr;
  float* rows;
  size_t bytes;
};

size_t scratch_bytes(const Call& call, int) { return Pieces(call, nullptr).bytes; }

void run(const Call& call) {
  const Pieces pieces(call, call.scratch);
  const Table table(call, kTable);
  const TokenRows tokens = table.token_rows();
  const TableRows from(table, pieces.rows);
  const int64_t cols = table.cols();
  const int32_t* const ids =
      call.has_input(kIds) ? checked_ids(call.input(kIds), table.rows(), 0, pieces.ids) : nullptr;
  for_row_tasks(*call.pool, split_rows(call.output(0).rows, cols), [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; ++r)
      from.widen(tokens.row(ids != nullptr ? ids[r] : r), call.output(0).f32() + r * cols);
  });
}

}  // namespace

extern const Operation embedding_operation;
const Operation embedding_operation = {"embedding", check, scratch_bytes, run, false};

}  // namespace mbok
