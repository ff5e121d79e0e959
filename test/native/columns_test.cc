// Column operations: split, concatenate, transpose.
#include "gradient_check.h"

namespace mbok {
namespace {

using test::matrix;
using test::Random;
using Vectors = std::vector<std::vector<float>>;

TEST("split and concatenate: runs of columns there and back, any number of threads") {
  Random random(91);
  for (const auto& widths : {std::vector<int64_t>{5}, {1, 7}, {64, 32, 32}, {200, 1, 300}}) {
    const int64_t rows = 77;
    int64_t cols = 0;
    Vectors parts;
    for (const int64_t width : widths) {
      cols += width;
      parts.emplace_back(static_cast<size_t>(rows * width));
    }
    const auto x = random.normals(rows * cols);
    const auto tensors = [&](const Vectors& values) {
      std::vector<Tensor> list;
      for (size_t i = 0; i < widths.size(); ++i) list.push_back(matrix(values[i], rows, widths[i]));
      return list;
    };
    const Vectors split = test::same_for_any_threads(parts, "split", [&](ThreadPool& pool, Vectors& out) {
      test::run_operation(pool, "split", {matrix(x, rows, cols)}, tensors(out), {});
    });
    int64_t before = 0;
    for (size_t i = 0; i < widths.size(); before += widths[i++])
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < widths[i]; ++c)
          CHECK(split[i][static_cast<size_t>(r * widths[i] + c)] == x[static_cast<size_t>(r * cols + before + c)],
                "at");
    const Vectors whole = {std::vector<float>(x.size())};
    CHECK(test::same_for_any_threads(whole, "concatenate",
                                     [&](ThreadPool& pool, Vectors& out) {
                                       test::run_operation(pool, "concatenate", tensors(split),
                                                           {matrix(out[0], rows, cols)}, {});
                                     })[0] == x,
          "there and back");
  }
  std::vector<float> x(12), y(8);
  CHECK(test::throws("MBOK_SHAPE",
                     [&] {
                       test::run_operation(ThreadPool::shared(), "split", {matrix(x, 2, 6)}, {matrix(y, 2, 4)}, {});
                     }),
        "columns left over");
}

TEST("transpose: elements of one, two and four bytes, any shape and number of threads") {
  Random random(92);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 5}, {33, 31}, {64, 96}, {70, 3}})
    for (const TensorType type : {TensorType::kF32, TensorType::kI32, TensorType::kF16, TensorType::kI8}) {
      const size_t bytes = row_bytes(type, 1), count = static_cast<size_t>(rows * cols);
      std::vector<uint8_t> from(count * bytes), one(from.size()), three(from.size());
      for (uint8_t& value : from) value = static_cast<uint8_t>(random.next());
      for (auto* to : {&one, &three}) {
        ThreadPool& pool = to == &one ? test::one_thread() : test::three_threads();
        test::run_operation(pool, "transpose", {{from.data(), rows, cols, type}}, {{to->data(), cols, rows, type}}, {});
      }
      CHECK(one == three, "threads");
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c)
          CHECK(std::memcmp(from.data() + static_cast<size_t>(r * cols + c) * bytes,
                            one.data() + static_cast<size_t>(c * rows + r) * bytes, bytes) == 0,
                "element");
    }
}

TEST("transpose: types whose rows are packed are refused") {
  std::vector<uint8_t> from(64 * 68), to(64 * 68);
  for (const TensorType type : {TensorType::kBits, TensorType::kBitTiles, TensorType::kQ8})
    CHECK(test::throws("MBOK_SHAPE",
                       [&] {
                         test::run_operation(test::one_thread(), "transpose", {{from.data(), 64, 64, type}},
                                             {{to.data(), 64, 64, type}}, {});
                       }),
          std::to_string(static_cast<int>(type)));
}

}  // namespace
}  // namespace mbok
