// Chooses signs for given scales, with the error of each column compensated by later ones (GPTQ, arXiv 2210.17323).
// Columns are processed in `order`. In every row column l takes the level Σₖ ± s_out[k] s_in[k]_l nearest to w_l; with
// err = (w_l − level) / u_ll every later column j loses err · u_lj. For u = I every column takes its nearest level.
//
// Columns are processed in blocks of 128: within a block 64 rows per task (kernels/compensated_signs), for the columns
// after it one product.
//
// inputs target [m, n], u [n, n] upper triangular, order i32 [n, 1] (place → column; rows and columns of u are in this
// order), s_out [K, m], s_in [K, n]; output kernels bits [K·m, n]
#include <algorithm>

#include "kernels/boolean_panel/boolean_panel.h"
#include "kernels/compensated_signs/compensated_signs.h"
#include "operations/product.h"
#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

constexpr int64_t kRows = kCompensationRows, kCols = kCompensationCols;

void check(const Call& call) {
  expect_counts(call, 5, 1, 0);
  const int64_t m = call.input(0).rows, n = call.input(0).cols, kernels = call.input(3).rows;
  expect_tensor(call, call.input(0), "target", TensorType::kF32, m, n);
  expect_tensor(call, call.input(1), "u", TensorType::kF32, n, n);
  expect_tensor(call, call.input(2), "order", TensorType::kI32, n, 1);
  expect(call, kernels >= 1 && kernels <= 8, "there must be 1 to 8 kernels");
  expect_tensor(call, call.input(3), "s_out", TensorType::kF32, kernels, m);
  expect_tensor(call, call.input(4), "s_in", TensorType::kF32, kernels, n);
  expect_tensor(call, call.output(0), "kernels", TensorType::kBits, kernels * m, n);
}

// The shape of columns after the block += errors · U.
ProductShape far_update(int64_t m, int64_t n, int64_t columns_after) {
  return {m, columns_after, kCols, kCols, n, n, false, true, true};
}

struct Layout {
  size_t work, errors, signs, s_in, order, place, product, bytes;  // offsets into scratch

  Layout(int64_t m, int64_t n, int64_t kernels, int threads) {
    size_t at = 0;
    const auto reserve = [&at](size_t size) {
      const size_t offset = at;
      at = align_up(at + size);
      return offset;
    };
    const auto floats = [](int64_t count) { return static_cast<size_t>(count) * sizeof(float); };
    work = reserve(floats(m * n));
    errors = reserve(floats(m * kCols));
    signs = reserve(static_cast<size_t>((m + kRows - 1) / kRows * kernels * n) * sizeof(uint64_t));
    s_in = reserve(floats(kernels * n));
    order = reserve(static_cast<size_t>(n) * sizeof(int32_t));
    place = reserve(static_cast<size_t>(n) * sizeof(int32_t));
    product = at;
    if (n > kCols) reserve(product_scratch(far_update(m, n, n - kCols), Precision::kF32, threads));
    bytes = at;
  }
};

Layout layout_of(const Call& call) {
  return Layout(call.input(0).rows, call.input(0).cols, call.input(3).rows, call.pool->threads());
}

size_t scratch_bytes(const Call& call, int threads) {
  return Layout(call.input(0).rows, call.input(0).cols, call.input(3).rows, threads).bytes;
}

// Copies order (place → column), because the output may overlap it, checks it, and fills place (column → place).
void read_order(const int32_t* from, int64_t n, int32_t* order, int32_t* place) {
  std::copy(from, from + n, order);
  std::fill(place, place + n, -1);
  for (int64_t p = 0; p < n; ++p) {
    if (order[p] < 0 || order[p] >= n || place[order[p]] >= 0)
      throw Error("MBOK_INVALID_ARGUMENT", "compensated_signs: 'order' must be a permutation of the columns");
    place[order[p]] = static_cast<int32_t>(p);
  }
}

void run(const Call& call) {
  const int64_t m = call.input(0).rows, n = call.input(0).cols, kernels = call.input(3).rows;
  const float* target = call.input(0).f32();
  const float* u = call.input(1).f32();
  const float* s_out = call.input(3).f32();
  const float* s_in = call.input(4).f32();
  const Layout layout = layout_of(call);
  float* work = reinterpret_cast<float*>(call.scratch + layout.work);
  float* errors = reinterpret_cast<float*>(call.scratch + layout.errors);
  uint64_t* signs = reinterpret_cast<uint64_t*>(call.scratch + layout.signs);  // a word per 64 rows, columns in order
  float* ordered_s_in = reinterpret_cast<float*>(call.scratch + layout.s_in);
  int32_t* order = reinterpret_cast<int32_t*>(call.scratch + layout.order);
  int32_t* place = reinterpret_cast<int32_t*>(call.scratch + layout.place);
  const int64_t tasks = (m + kRows - 1) / kRows;
  const auto rows_of = [=](int64_t task) { return std::min(kRows, m - task * kRows); };

  read_order(call.input(2).i32(), n, order, place);
  for (int64_t k = 0; k < kernels; ++k)
    for (int64_t p = 0; p < n; ++p) ordered_s_in[k * n + p] = s_in[k * n + order[p]];
  call.pool->parallel_for(tasks, [&](int64_t task, int) {
    for (int64_t i = task * kRows; i < task * kRows + rows_of(task); ++i)
      for (int64_t p = 0; p < n; ++p) work[i * n + p] = target[i * n + order[p]];
  });

  CompensateFunction* compensate = compensate_table.best();
  for (int64_t b = 0; b < n; b += kCols) {
    const int64_t cols = std::min(kCols, n - b), after = n - b - cols;
    call.pool->parallel_for(tasks, [&](int64_t task, int) {
      const int64_t i = task * kRows;
      compensate({rows_of(task), cols, work + i * n + b, n, u + b * n + b, n, s_out + i, m, ordered_s_in + b, n,
                  static_cast<int>(kernels), errors + i * kCols, signs + task * kernels * n + b, n});
    });
    if (after > 0)
      product(*call.pool, errors, u + b * n + b + cols, work + b + cols, far_update(m, n, after), Precision::kF32,
              call.scratch + layout.product);
  }

  BitTransposeFunction* const transpose = bit_transpose_table.best();
  uint64_t* bits = call.output(0).bits();
  const int64_t words = call.output(0).words();
  call.pool->parallel_for(tasks * kernels, [&](int64_t task, int) {
    const int64_t block = task / kernels, k = task % kernels;
    const uint64_t* own = signs + task * n;
    for (int64_t word = 0; word < words; ++word) {
      uint64_t square[64] = {}, rows[64];
      for (int64_t j = word * 64; j < std::min(n, word * 64 + 64); ++j) square[j % 64] = own[place[j]];
      transpose(square, 1, 64, rows);
      for (int64_t r = 0; r < rows_of(block); ++r) bits[(k * m + block * kRows + r) * words + word] = rows[r];
    }
  });
}

}  // namespace

extern const Operation compensated_signs_operation;
const Operation compensated_signs_operation = {"compensated_signs", check, scratch_bytes, run, false};

}  // namespace mbok
