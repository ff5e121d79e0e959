// Embedding by token and by position, their gradients, and the last row.
#include "gradient_check.h"

namespace mbok {
namespace {

using test::integers;
using test::matrix;
using test::Random;
using Vectors = std::vector<std::vector<float>>;

TEST("embedding: rows of the table by id, gradient summed over repeated ids, any number of threads") {
  Random random(51);
  for (const int64_t cols : {1, 5, 64, 67, 192}) {
    const int64_t vocabulary = 11, rows = 300;
    const auto table = random.normals(vocabulary * cols), dy = random.normals(rows * cols);
    const auto start = random.normals(vocabulary * cols);
    std::vector<int32_t> ids;
    for (int64_t r = 0; r < rows; ++r) ids.push_back(static_cast<int32_t>(random.integer(0, vocabulary - 2)));
    std::vector<float> y, gradient = start;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        y.push_back(table[static_cast<size_t>(ids[static_cast<size_t>(r)] * cols + c)]);
        gradient[static_cast<size_t>(ids[static_cast<size_t>(r)] * cols + c)] += dy[static_cast<size_t>(r * cols + c)];
      }
    const std::string name = std::to_string(cols) + " columns";
    CHECK(test::same_for_any_threads({std::vector<float>(y.size())}, name,
                                     [&](ThreadPool& pool, Vectors& out) {
                                       test::run_operation(pool, "embedding",
                                                           {matrix(table, vocabulary, cols), integers(ids)},
                                                           {matrix(out[0], rows, cols)}, {});
                                     })[0] == y,
          name);
    CHECK(test::same_for_any_threads({start}, name,
                                     [&](ThreadPool& pool, Vectors& out) {
                                       test::run_operation(pool, "embedding_gradient",
                                                           {matrix(dy, rows, cols), integers(ids)},
                                                           {matrix(out[0], vocabulary, cols)}, {});
                                     })[0] == gradient,
          name + " gradient");
  }
}

TEST("embedding: an id outside the vocabulary is an error before anything is written") {
  ThreadPool& pool = ThreadPool::shared();
  const std::vector<float> table(6, 1.0f);
  for (const int32_t bad : {-1, 3, 1 << 30}) {
    std::vector<float> y(4, 7.0f), gradient(6, 7.0f);
    CHECK(test::throws("MBOK_INVALID_ARGUMENT",
                       [&] {
                         test::run_operation(pool, "embedding", {matrix(table, 3, 2), integers({0, bad})},
                                             {matrix(y, 2, 2)}, {});
                       }),
          std::to_string(bad));
    CHECK(test::throws("MBOK_INVALID_ARGUMENT",
                       [&] {
                         test::run_operation(pool, "embedding_gradient", {matrix(y, 2, 2), integers({0, bad})},
                                             {matrix(gradient, 3, 2)}, {});
                       }),
          std::to_string(bad));
    CHECK(y == std::vector<float>(4, 7.0f) && gradient == std::vector<float>(6, 7.0f), "written");
  }
}

TEST("position_embedding: every sequence starts at the run's position, gradient summed over sequences, any threads") {
  Random random(52);
  const int64_t sequences = 3, length = 40, rows = sequences * length, positions = 50, offset = 2, start = 7;
  Scalars scalars;
  scalars.rows = static_cast<double>(rows);
  scalars.sequence_length = static_cast<double>(length);
  scalars.position = static_cast<double>(start);
  for (const int64_t cols : {1, 63, 200}) {
    const auto table = random.normals((offset + positions) * cols), dy = random.normals(rows * cols);
    const auto before = random.normals((offset + positions) * cols);
    std::vector<float> y, gradient = before;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const size_t at = static_cast<size_t>((offset + start + r % length) * cols + c);
        y.push_back(table[at]);
        gradient[at] += dy[static_cast<size_t>(r * cols + c)];
      }
    const std::string name = std::to_string(cols) + " columns";
    const Tensor whole = matrix(table, offset + positions, cols);
    CHECK(test::same_for_any_threads({std::vector<float>(y.size())}, name,
                                     [&](ThreadPool& pool, Vectors& out) {
                                       test::run_operation(pool, "position_embedding", {whole},
                                                           {matrix(out[0], rows, cols)}, {static_cast<double>(offset)},
                                                           scalars);
                                     })[0] == y,
          name);
    CHECK(test::same_for_any_threads({before}, name,
                                     [&](ThreadPool& pool, Vectors& out) {
                                       test::run_operation(pool, "position_embedding_gradient",
                                                           {matrix(dy, rows, cols)},
                                                           {matrix(out[0], offset + positions, cols)},
                                                           {static_cast<double>(offset)}, scalars);
                                     })[0] == gradient,
          name + " gradient");
    std::vector<int32_t> given;
    for (int64_t r = 0; r < rows; ++r) given.push_back(static_cast<int32_t>(start + r % length));
    Vectors out = {std::vector<float>(y.size()), before};
    test::run_operation(ThreadPool::shared(), "position_embedding", {whole, test::integers(given)},
                        {matrix(out[0], rows, cols)}, {static_cast<double>(offset)});
    test::run_operation(ThreadPool::shared(), "position_embedding_gradient",
                        {matrix(dy, rows, cols), test::integers(given)}, {matrix(out[1], offset + positions, cols)},
                        {static_cast<double>(offset)});
    CHECK(out[0] == y && out[1] == gradient, name + " given");
    scalars.position = 11;  // 11 + 40 positions exceed 50
    CHECK(test::throws("MBOK_INVALID_ARGUMENT",
                       [&] {
                         test::run_operation(ThreadPool::shared(), "position_embedding", {whole},
                                             {matrix(y, rows, cols)}, {static_cast<double>(offset)}, scalars);
                       }),
          name);
    scalars.position = static_cast<double>(start);
  }
}

TEST("last_row: copies the last row") {
  std::vector<float> x = {1, 2, 3, 4, 5, 6}, y(2);
  test::run_operation(ThreadPool::shared(), "last_row", {matrix(x, 3, 2)}, {matrix(y, 1, 2)}, {});
  CHECK((y == std::vector<float>{5, 6}), "last row");
}

}  // namespace
}  // namespace mbok
