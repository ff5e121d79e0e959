// The dense product: every candidate of every table against scalar, then the driver against the definition.
#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/dense_panel/dense_panel.h"
#include "kernels/dense_product/dense_product.h"
#include "operations/product.h"
#include "run.h"
#include "runtime/memory.h"

namespace mbok {
namespace {

using test::one_thread;
using test::Random;
using test::three_threads;

constexpr double kF32Tolerance = 2e-6;   // the order of f32 sums
constexpr double kBf16Tolerance = 6e-3;  // operands rounded to 8 bits: 2⁻⁹ each, independent

std::string shape_name(int64_t m, int64_t n, int64_t depth) {
  return std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(depth);
}

// The definition in float64, rounded once: C[m, n] = Σ a(i, d) b(j, d).
template <class A, class B>
std::vector<float> reference(int64_t m, int64_t n, int64_t depth, A a, B b) {
  std::vector<float> c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t d = 0; d < depth; ++d) sum += static_cast<double>(a(i, d)) * b(j, d);
      c[static_cast<size_t>(i * n + j)] = static_cast<float>(sum);
    }
  return c;
}

void check_product_candidates(const KernelTable<DenseProductFunction>& table, double tolerance) {
  Random random(1);
  for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 11, 12, 37, 70})
    for (const int64_t cols : {1, 15, 16, 17, 31, 33, 48, 49, 63, 64})
      for (const int64_t depth : {1, 2, 13, 256}) {
        const bool columns = random.integer(0, 1) == 1, accumulate = random.integer(0, 1) == 1;
        std::vector<float> a = random.normals(rows * depth), b = random.normals(kPanelCols * depth);
        if (&table == &dense_product_bf16_table) {  // a step is a pair: any two bf16 numbers
          std::vector<uint16_t> pairs(a.size() * 2 + b.size() * 2);
          const std::vector<float> values = random.normals(static_cast<int64_t>(pairs.size()));
          bf16_convert_table.candidates().back().function(values.data(), 1, static_cast<int64_t>(values.size()),
                                                          pairs.data());
          std::memcpy(a.data(), pairs.data(), a.size() * 4);
          std::memcpy(b.data(), pairs.data() + a.size() * 2, b.size() * 4);
        }
        const std::vector<float> start = random.normals(rows * (cols + 3)), bias = random.normals(cols);
        const auto multiply = [&](DenseProductFunction* function) {
          std::vector<float> c = start;
          function({a.data(), columns ? 1 : depth, columns ? rows : 1, b.data(), c.data(), cols + 3, rows, cols, depth,
                    accumulate, depth % 2 == 0 ? bias.data() : nullptr});
          return c;
        };
        const std::vector<float> expected = multiply(table.candidates().back().function);
        for (const auto& candidate : table.candidates()) {
          if (!candidate.supported()) continue;
          const std::vector<float> c = multiply(candidate.function);
          const bool same = tolerance == 0 ? std::memcmp(c.data(), expected.data(), c.size() * 4) == 0
                                           : test::relative_error(c, expected) <= tolerance;
          CHECK(same, std::string(table.name()) + " " + candidate.name + " " + shape_name(rows, cols, depth));
        }
      }
}

TEST("dense product: f32 candidates give the same bits as scalar") {
  check_product_candidates(dense_product_f32_table, 0);
}
TEST("dense product: bf16 candidates agree with scalar") { check_product_candidates(dense_product_bf16_table, 1e-6); }

TEST("dense panels: every candidate packs the same bits as scalar") {
  Random random(2);
  for (const auto* table : {&dense_panel_rows_f32_table, &dense_panel_rows_bf16_table, &dense_panel_columns_f32_table,
                            &dense_panel_columns_bf16_table}) {
    const bool rows = table == &dense_panel_rows_f32_table || table == &dense_panel_rows_bf16_table;
    for (const int64_t items : {1, 7, 16, 17, 40, 63, 64})
      for (const int64_t depth : {1, 2, 7, 16, 31, 32, 33, 100, 256}) {
        const int64_t stride = (rows ? depth : items) + 5, width = rows ? 64 : items + 3;
        const std::vector<float> source = random.normals(stride * (rows ? items : depth));
        const auto pack = [&](DensePanelFunction* function) {
          std::vector<float> panel(static_cast<size_t>(depth * width), 0.0f);
          function({source.data(), stride, items, depth, width}, panel.data());
          return panel;
        };
        const std::vector<float> expected = pack(table->candidates().back().function);
        for (const auto& candidate : table->candidates())
          if (candidate.supported())
            CHECK(std::memcmp(pack(candidate.function).data(), expected.data(), expected.size() * 4) == 0,
                  std::string(table->name()) + " " + candidate.name + " " + shape_name(items, width, depth));
      }
  }
}

TEST("bf16 conversion: every candidate rounds like scalar, to nearest even") {
  Random random(3);
  for (const int64_t cols : {1, 2, 31, 32, 33, 65}) {
    std::vector<float> x = random.normals(3 * cols);
    x[0] = 1.00390625f;  // halfway between two bf16 numbers: rounds to the even one, 1
    const size_t size = static_cast<size_t>(3 * ((cols + 1) / 2 * 2));
    std::vector<uint16_t> expected(size);
    bf16_convert_table.candidates().back().function(x.data(), 3, cols, expected.data());
    CHECK(expected[0] == 0x3f80, "tie");
    for (const auto& candidate : bf16_convert_table.candidates()) {
      if (!candidate.supported()) continue;
      std::vector<uint16_t> y(size);
      candidate.function(x.data(), 3, cols, y.data());
      CHECK(y == expected, candidate.name);
    }
  }
}

TEST("product: all transpositions, precisions and edges against the definition; threads change nothing") {
  Random random(4);
  const int64_t sizes[] = {1, 2, 5, 12, 13, 31, 64, 65, 100, 130};
  std::vector<std::vector<int64_t>> shapes;
  for (int i = 0; i < 60; ++i)
    shapes.push_back({sizes[random.integer(0, 9)], sizes[random.integer(0, 9)], sizes[random.integer(0, 9)]});
  shapes.push_back({192, 192, 512});
  shapes.push_back({515, 64, 192});
  shapes.push_back({64, 192, 515});
  shapes.push_back({2100, 70, 33});
  shapes.push_back({20, 70, 15700});  // deep products go part by part
  for (const auto& shape : shapes)
    for (int flags = 0; flags < 8; ++flags) {
      const int64_t m = shape[0], n = shape[1], depth = shape[2];
      if (m > 2000 && flags % 4 != 0) continue;
      ProductShape s = {};
      s.m = m;
      s.n = n;
      s.depth = depth;
      s.a_transposed = flags & 1;
      s.b_transposed = flags & 2;
      s.accumulate = flags & 4;
      s.a_stride = (s.a_transposed ? m : depth) + 3;
      s.b_stride = (s.b_transposed ? n : depth) + 1;
      s.c_stride = n + 2;
      const std::vector<float> a = random.normals((s.a_transposed ? depth : m) * s.a_stride);
      const std::vector<float> b = random.normals((s.b_transposed ? depth : n) * s.b_stride);
      const std::vector<float> start = random.normals(m * s.c_stride);
      std::vector<float> expected = reference(
          m, n, depth,
          [&](int64_t i, int64_t d) {
            return a[static_cast<size_t>(s.a_transposed ? d * s.a_stride + i : i * s.a_stride + d)];
          },
          [&](int64_t j, int64_t d) {
            return b[static_cast<size_t>(s.b_transposed ? d * s.b_stride + j : j * s.b_stride + d)];
          });
      for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
        const auto run = [&](ThreadPool& pool) {
          std::vector<float> c = start;
          Memory scratch(product_scratch(s, precision, pool.threads()));
          product(pool, a.data(), b.data(), c.data(), s, precision, scratch.data());
          return c;
        };
        const std::vector<float> c = run(one_thread());
        CHECK(run(three_threads()) == c, "threads, " + shape_name(m, n, depth));
        std::vector<float> inside(expected.size());
        bool outside = true;
        for (int64_t i = 0; i < m; ++i)
          for (int64_t j = 0; j < s.c_stride; ++j) {
            const size_t at = static_cast<size_t>(i * s.c_stride + j);
            if (j < n)
              inside[static_cast<size_t>(i * n + j)] = s.accumulate ? c[at] - start[at] : c[at];
            else
              outside = outside && c[at] == start[at];
          }
        CHECK(outside, "writes beside C, " + shape_name(m, n, depth));
        const double tolerance = precision == Precision::kF32 ? kF32Tolerance : kBf16Tolerance;
        const double error = test::relative_error(inside, expected);
        // a single small sum may cancel, so small shapes get a looser tolerance
        CHECK(error <= (m * n < 100 ? 20 : 1) * tolerance, shape_name(m, n, depth) + " error " + std::to_string(error));
      }
    }
}

// Copies every tile into a matrix and counts how often each element came.
class Collector final : public TileSink {
 public:
  Collector(int64_t m, int64_t n) : n_(n), values(static_cast<size_t>(m * n)), seen(static_cast<size_t>(m * n)) {}
  void consume(const Tile& tile, int) override {
    for (int64_t r = 0; r < tile.rows; ++r)
      for (int64_t c = 0; c < tile.cols; ++c) {
        const size_t at = static_cast<size_t>((tile.row + r) * n_ + tile.col + c);
        values[at] = tile.data[r * tile.stride + c];
        ++seen[at];
      }
  }

 private:
  int64_t n_;

 public:
  std::vector<float> values;
  std::vector<int> seen;
};

TEST("product tiles: every element of the gradient comes once, whatever the threads") {
  Random random(5);
  const std::array<int64_t, 3> shapes[] = {{1, 1, 1}, {7, 13, 65}, {300, 64, 192}, {515, 130, 70}, {64, 800, 33}};
  for (const auto& [depth, m, n] : shapes)
    for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
      const std::vector<float> z = random.normals(depth * m), x = random.normals(depth * n);
      const int64_t rows = m, cols = n;
      const std::vector<float> expected = reference(
          m, n, depth, [&](int64_t i, int64_t d) { return z[static_cast<size_t>(d * rows + i)]; },
          [&](int64_t j, int64_t d) { return x[static_cast<size_t>(d * cols + j)]; });
      std::vector<float> first;
      for (ThreadPool* pool : {&one_thread(), &three_threads()}) {
        Memory scratch(product_tiles_scratch(depth, m, n, precision, pool->threads()));
        Collector collector(m, n);
        product_tiles(*pool, z.data(), x.data(), depth, m, n, precision, collector, scratch.data());
        CHECK(std::all_of(collector.seen.begin(), collector.seen.end(), [](int count) { return count == 1; }), "once");
        const double tolerance = precision == Precision::kF32 ? kF32Tolerance : kBf16Tolerance;
        CHECK(test::relative_error(collector.values, expected) <= tolerance, shape_name(m, n, depth));
        if (first.empty()) first = collector.values;
        CHECK(first == collector.values, "threads");
      }
      const TileGrid grid = product_tile_grid(m, n);
      CHECK(grid.rows * grid.tile_rows >= m && grid.cols * grid.tile_cols >= n && grid.tile_cols % 64 == 0, "grid");
    }
}

// Operations take scratch for their largest product and reuse it for smaller ones.
TEST("product: scratch for a shape suffices for every smaller one") {
  Random random(6);
  for (int i = 0; i < 20000; ++i) {
    const auto size = [&] { return random.integer(1, random.integer(0, 3) == 0 ? 12000 : 700); };
    ProductShape large = {size(), size(), size(), 1, 1, 1, random.integer(0, 1) == 1, random.integer(0, 1) == 1, false};
    ProductShape small = large;
    for (int64_t* extent : {&small.m, &small.n, &small.depth})
      if (random.integer(0, 1) == 1) *extent = random.integer(1, static_cast<int>(*extent));
    const int threads = random.integer(1, 20);
    for (const Precision precision : {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
      if (precision == Precision::kInt8) large.a_transposed = small.a_transposed = false;
      CHECK(product_scratch(small, precision, threads) <= product_scratch(large, precision, threads),
            shape_name(small.m, small.n, small.depth) + " within " + shape_name(large.m, large.n, large.depth));
    }
    CHECK(product_tiles_scratch(small.depth, large.m, large.n, Precision::kBf16, threads) <=
              product_tiles_scratch(large.depth, large.m, large.n, Precision::kBf16, threads),
          "tiles " + shape_name(large.m, large.n, small.depth));
  }
}

}  // namespace
}  // namespace mbok
