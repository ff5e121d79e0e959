// Products whose algorithm depends on the number of rows: on one path a row has the same bits beside any others.
#include <array>
#include <cstring>

#include "kernels/bit_tiles/bit_tiles.h"
#include "kernels/half/half.h"
#include "kernels/q8/q8.h"
#include "run.h"

namespace mbok {
namespace {

using test::bit_matrix;
using test::matrix;
using test::Random;

// What the operations tell apart lies between these.
constexpr int64_t kPaths[] = {1, 2, 5, 8, 9, 16, 33, 600};
constexpr int64_t kAll = 70;

// One row after another, then more, at every place: the last ones are too few for the tiles of a product.
constexpr std::array<int64_t, 2> kParts[] = {{0, 1}, {3, 1}, {69, 1}, {1, 2}, {5, 7}, {60, 8}, {9, 9}, {33, 33}, {2, 68}};

// `inputs`: those behind x, which has n columns; y has m.
void expect_same_rows(const std::string& operation, const std::string& name, const std::vector<Tensor>& inputs, int64_t m,
                      int64_t n, const std::vector<float>& x) {
  for (const double precision : {0.0, 1.0, 2.0})
    for (const int64_t path : kPaths) {
      Scalars scalars;
      scalars.path_rows = static_cast<double>(path);
      const auto run = [&](int64_t first, int64_t rows) {
        std::vector<float> y(static_cast<size_t>(rows * m));
        std::vector<Tensor> all = inputs;
        all.insert(all.begin(), {const_cast<float*>(x.data()) + first * n, rows, n, TensorType::kF32});
        test::run_operation(test::three_threads(), operation, all, {matrix(y, rows, m)}, {precision}, scalars);
        return y;
      };
      const std::vector<float> whole = run(0, kAll);
      for (const auto& [first, rows] : kParts) {
        const std::vector<float> some = run(first, rows);
        CHECK(std::memcmp(some.data(), whole.data() + first * m, some.size() * sizeof(float)) == 0,
              operation + " " + name + ", precision " + std::to_string(precision) + ", path " + std::to_string(path) + ", " +
                  std::to_string(rows) + " rows from " + std::to_string(first));
      }
    }
}

// Random weights [m, n] of any type; n is a multiple of kQ8Block.
std::vector<uint8_t> weights(Random& random, TensorType type, int64_t m, int64_t n) {
  const auto row = static_cast<int64_t>(row_bytes(type, n));
  std::vector<uint8_t> bytes(static_cast<size_t>(m * row));
  const std::vector<float> values = random.normals(m * n);
  if (type == TensorType::kF32) std::memcpy(bytes.data(), values.data(), bytes.size());
  if (type == TensorType::kF16) scalar::f16_narrow(values.data(), reinterpret_cast<uint16_t*>(bytes.data()), m * n);
  if (type == TensorType::kBf16) scalar::bf16_narrow(values.data(), reinterpret_cast<uint16_t*>(bytes.data()), m * n);
  if (type == TensorType::kI8 || type == TensorType::kQ8)
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next());
  if (type == TensorType::kQ8)
    for (int64_t i = 0; i < m; ++i) {
      std::vector<uint16_t> scales(static_cast<size_t>(n / kQ8Block));
      scalar::f16_narrow(random.normals(n / kQ8Block).data(), scales.data(), n / kQ8Block);
      std::memcpy(bytes.data() + i * row, scales.data(), scales.size() * sizeof(uint16_t));
    }
  return bytes;
}

TEST("linear: on one path a row does not depend on those beside it") {
  Random random(91);
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBf16, TensorType::kI8, TensorType::kQ8})
    for (const auto& [m, n] : {std::array<int64_t, 2>{7, 32}, {130, 96}, {192, 704}}) {
      std::vector<uint8_t> w = weights(random, type, m, n);
      const std::vector<float> x = random.normals(kAll * n), bias = random.normals(m), scales = random.normals(m);
      const Tensor narrow = {w.data(), m, n, type};
      expect_same_rows("linear", std::to_string(static_cast<int>(type)) + ", " + std::to_string(m) + " x " + std::to_string(n),
                       {narrow, matrix(bias, 1, m), type == TensorType::kI8 ? matrix(scales, m, 1) : Tensor{}}, m, n, x);
    }
}

TEST("multi-Boolean linear: on one path a row does not depend on those beside it, from rows and from tiles of bits") {
  Random random(92);
  for (const int64_t kernels : {1, 2, 3, 4, 7})
    for (const auto& [m, n] : {std::array<int64_t, 2>{7, 33}, {130, 96}, {192, 704}}) {
      const std::vector<uint64_t> bits = random.bits(kernels * m, n);
      const int64_t filled = (m + kTileRows - 1) / kTileRows * kTileRows;
      std::vector<uint8_t> tiles(static_cast<size_t>(kernels * filled * words_per_row(n) * 8));
      const Tensor tiled = {tiles.data(), kernels * filled, n, TensorType::kBitTiles};
      test::run_operation(test::one_thread(), "arrange_bits", {bit_matrix(bits, kernels * m, n)}, {tiled},
                          {static_cast<double>(kernels)});
      const std::vector<float> x = random.normals(kAll * n), s_out = random.normals(kernels * m),
                               s_in = random.normals(kernels * n), bias = random.normals(m);
      const std::string name = "K = " + std::to_string(kernels) + ", " + std::to_string(m) + " x " + std::to_string(n);
      for (const Tensor& any : {bit_matrix(bits, kernels * m, n), tiled})
        expect_same_rows("multi_boolean_linear", (any.type == TensorType::kBits ? "rows, " : "tiles, ") + name,
                         {any, matrix(s_out, kernels, m), matrix(s_in, kernels, n), matrix(bias, 1, m)}, m, n, x);
    }
}

}  // namespace
}  // namespace mbok
