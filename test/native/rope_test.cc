// Rotary position embedding.
#include "gradient_check.h"
#include "kernels/rope/rope.h"

namespace mbok {
namespace {

using test::check_close;
using test::matrix;
using test::Random;
using Vectors = std::vector<std::vector<float>>;

std::vector<float> rotation_table(int64_t positions, int64_t d) {
  std::vector<float> table(static_cast<size_t>(positions * d));
  for (int64_t p = 0; p < positions; ++p)
    for (int64_t j = 0; j < d / 2; ++j) {
      const double frequency = std::pow(100.0, -2.0 * static_cast<double>(j) / static_cast<double>(d));
      const double angle = static_cast<double>(p) * frequency;
      table[static_cast<size_t>(p * d + j)] = static_cast<float>(std::cos(angle));
      table[static_cast<size_t>(p * d + d / 2 + j)] = static_cast<float>(std::sin(angle));
    }
  return table;
}

TEST("rope: every candidate turns the pairs of any head dimension, also in place") {
  Random random(31);
  for (const int64_t d : {2, 4, 6, 14, 16, 18, 30, 32, 34, 62, 64, 66, 128, 256}) {
    const int64_t heads = 3;
    const auto x = random.normals(heads * d), table = rotation_table(6, d);
    std::vector<float> expected(x.size());
    for (const float direction : {1.0f, -1.0f}) {
      scalar::rope(x.data(), table.data() + 5 * d, expected.data(), heads, d, d, direction);
      test::for_each_candidate(rope_table, [&](auto* function, const std::string& name) {
        std::vector<float> got = x;
        function(got.data(), table.data() + 5 * d, got.data(), heads, d, d, direction);
        check_close(got, expected, 1e-6, name + " d " + std::to_string(d));
      });
    }
  }
}

TEST("rope: a narrow table turns the first part of each head and leaves the rest, also in place") {
  Random random(33);
  for (const int64_t d : {6, 20, 64, 96})
    for (const int64_t turned : {2, 4, 6}) {
      const int64_t heads = 3;
      const auto x = random.normals(heads * d), table = rotation_table(6, turned);
      for (const float direction : {1.0f, -1.0f}) {
        std::vector<float> expected = x;
        for (int64_t head = 0; head < heads; ++head)
          scalar::rope(x.data() + head * d, table.data() + 5 * turned, expected.data() + head * d, 1, turned, turned,
                       direction);
        test::for_each_candidate(rope_table, [&](auto* function, const std::string& name) {
          std::vector<float> got(x.size()), same = x;
          function(x.data(), table.data() + 5 * turned, got.data(), heads, d, turned, direction);
          function(x.data(), table.data() + 5 * turned, same.data(), heads, d, turned, direction);
          check_close(got, expected, 1e-6, name + " d " + std::to_string(d));
          CHECK(got == same, name + " in place");
        });
      }
    }
}

TEST("rope: rows of several sequences take their positions, and the inverse undoes it") {
  Random random(32);
  const int64_t sequences = 3, length = 50, heads = 4, d = 10, cols = heads * d, rows = sequences * length;
  const auto x = random.normals(rows * cols), table = rotation_table(64, d);
  Scalars scalars;
  scalars.rows = static_cast<double>(rows);
  scalars.sequence_length = static_cast<double>(length);
  scalars.position = 7;
  const auto run = [&](const std::vector<float>& from, double direction) {
    return test::same_for_any_threads({from}, "rope", [&](ThreadPool& pool, Vectors& out) {
      test::run_operation(pool, "rope", {matrix(from, rows, cols), matrix(table, 64, d)}, {matrix(out[0], rows, cols)},
                          {static_cast<double>(d), direction}, scalars);
    })[0];
  };
  const std::vector<float> turned = run(x, 1);
  std::vector<float> expected(x.size());
  for (int64_t r = 0; r < rows; ++r)
    scalar::rope(x.data() + r * cols, table.data() + (7 + r % length) * d, expected.data() + r * cols, heads, d, d, 1);
  check_close(turned, expected, 1e-6, "rope");
  check_close(run(turned, -1), x, 1e-6, "inverse");

  std::vector<int32_t> given(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) given[static_cast<size_t>(r)] = static_cast<int32_t>(r * 37 % 64);
  const auto run_given = [&] {
    std::vector<float> y(x.size());
    test::run_operation(ThreadPool::shared(), "rope",
                        {matrix(x, rows, cols), matrix(table, 64, d), test::integers(given)}, {matrix(y, rows, cols)},
                        {static_cast<double>(d), 1}, scalars);
    return y;
  };
  for (int64_t r = 0; r < rows; ++r)
    scalar::rope(x.data() + r * cols, table.data() + given[static_cast<size_t>(r)] * d, expected.data() + r * cols,
                 heads, d, d, 1);
  check_close(run_given(), expected, 1e-6, "given positions");
  given[5] = 64;
  CHECK(test::throws("MBOK_INVALID_ARGUMENT", run_given), "given position beyond the table");
  given[5] = -1;
  CHECK(test::throws("MBOK_INVALID_ARGUMENT", run_given), "negative position");

  scalars.position = 15;  // 15 + 50 positions exceed a table of 64
  CHECK(test::throws("MBOK_INVALID_ARGUMENT", [&] { run(x, 1); }), "position beyond the table");
}

}  // namespace
}  // namespace mbok
