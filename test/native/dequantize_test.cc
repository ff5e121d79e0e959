// Blocks of ggml's types. test/models/gguf/types.test.ts compares their values with another implementation.
#include <cmath>
#include <limits>

#include "kernels/dequantize/dequantize.h"
#include "kernels/half/half.h"
#include "gradient_check.h"

namespace mbok {
namespace {

using test::Random;

constexpr int32_t kIds[] = {0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 30};

// Random bytes with finite scales: the top exponent bits of every f16 and f32 in the block formats are cleared.
std::vector<uint8_t> random_blocks(Random& random, const BlockType& type, int64_t count) {
  std::vector<uint8_t> bytes(static_cast<size_t>(count * type.bytes));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next());
  for (int64_t i = 0; i < count; ++i)
    for (int32_t at = 1; at < type.bytes; at += 2) bytes[static_cast<size_t>(i * type.bytes + at)] &= 0xbfu;
  return bytes;
}

Tensor bytes_of(const std::vector<uint8_t>& bytes, int64_t rows) {
  return {const_cast<uint8_t*>(bytes.data()), rows, static_cast<int64_t>(bytes.size()) / rows, TensorType::kU8};
}

TEST("dequantize: 16-bit outputs are the f32 values rounded once, for any number of threads") {
  Random random(71);
  for (const int32_t id : kIds) {
    const BlockType& type = *find_block_type(id);
    const std::string name = "type " + std::to_string(id);
    const int64_t rows = 37, cols = 1280, size = rows * cols;
    const auto blocks = random_blocks(random, type, size / type.elements);
    std::vector<float> values(static_cast<size_t>(size)), three(values);
    test::run_operation(test::one_thread(), "dequantize", {bytes_of(blocks, rows)}, {test::matrix(values, rows, cols)},
                        {static_cast<double>(id)});
    test::run_operation(test::three_threads(), "dequantize", {bytes_of(blocks, rows)},
                        {test::matrix(three, rows, cols)}, {static_cast<double>(id)});
    CHECK(test::same_bits(values, three), "threads: " + name);
    bool varied = false;
    for (const float value : values) varied = varied || value != values[0];
    CHECK(varied, name);
    for (const TensorType half : {TensorType::kF16, TensorType::kBf16}) {
      if (half == TensorType::kF16 && (id == 0 || id == 30)) continue;  // random f32 values exceed f16
      std::vector<uint16_t> expected(values.size()), got(values.size());
      (half == TensorType::kF16 ? scalar::f16_narrow : scalar::bf16_narrow)(values.data(), expected.data(), size);
      bool fits = true;
      for (const float value : values) fits = fits && (half == TensorType::kBf16 || std::fabs(value) < 65520.0f);
      const auto run = [&] {
        test::run_operation(test::three_threads(), "dequantize", {bytes_of(blocks, rows)},
                            {{got.data(), rows, cols, half}}, {static_cast<double>(id)});
      };
      if (fits) {
        run();
        CHECK(got == expected, name);
      } else {
        CHECK(test::throws("MBOK_NON_FINITE", run), name);
      }
    }
  }
}

TEST("dequantize: q8 holds the values of four types exactly, and no other type becomes it") {
  Random random(72);
  for (const int32_t id : kIds) {
    const BlockType& type = *find_block_type(id);
    const std::string name = "type " + std::to_string(id);
    const int64_t rows = 37, cols = 1280;
    const auto blocks = random_blocks(random, type, rows * cols / type.elements);
    std::vector<float> values(static_cast<size_t>(rows * cols)), widened(values);
    std::vector<uint8_t> q8(row_bytes(TensorType::kQ8, cols) * rows);
    const Tensor held = {q8.data(), rows, cols, TensorType::kQ8};
    const auto run = [&](const Tensor& w) {
      test::run_operation(test::three_threads(), "dequantize", {bytes_of(blocks, rows)}, {w},
                          {static_cast<double>(id)});
    };
    if (id != 2 && id != 6 && id != 8 && id != 20) {
      CHECK(test::throws("MBOK_SHAPE", [&] { run(held); }), name);
      continue;
    }
    run(test::matrix(values, rows, cols));
    run(held);
    test::run_operation(test::one_thread(), "widen", {held}, {test::matrix(widened, rows, cols)}, {});
    CHECK(test::same_bits(widened, values), name);
  }
}

TEST("dequantize: a scale of q8 that is not finite is refused") {
  for (const uint16_t bad : {0x7c00, 0xfc00, 0x7e01}) {
    std::vector<uint8_t> blocks(3 * 40 * 34), q8(row_bytes(TensorType::kQ8, 1280) * 3);
    std::memcpy(blocks.data() + 119 * 34, &bad, 2);
    CHECK(test::throws("MBOK_NON_FINITE",
                       [&] {
                         test::run_operation(test::one_thread(), "dequantize", {bytes_of(blocks, 3)},
                                             {{q8.data(), 3, 1280, TensorType::kQ8}}, {8});
                       }),
          std::to_string(bad));
  }
}

TEST("dequantize: values that are not finite in the output's type are refused") {
  const float infinity = std::numeric_limits<float>::infinity(), largest = std::numeric_limits<float>::max();
  struct Case {
    float value;
    TensorType type;
    bool refused;
  };
  const Case cases[] = {
      {infinity, TensorType::kF32, true},      {-infinity, TensorType::kF32, true},
      {std::nanf(""), TensorType::kF32, true}, {largest, TensorType::kF32, false},
      {largest, TensorType::kBf16, true},      {3.3895314e38f, TensorType::kBf16, false},
      {65519.0f, TensorType::kF16, false},     {-65520.0f, TensorType::kF16, true},
      {std::nanf(""), TensorType::kF16, true}, {-std::nanf(""), TensorType::kBf16, true},
  };
  for (const Case& c : cases) {
    std::vector<uint8_t> bytes(3000 * 4);
    std::memcpy(bytes.data() + 2999 * 4, &c.value, 4);
    std::vector<float> out(3000);
    const auto run = [&] {
      test::run_operation(test::one_thread(), "dequantize", {bytes_of(bytes, 3)}, {{out.data(), 3, 1000, c.type}}, {0});
    };
    if (c.refused) {
      CHECK(test::throws("MBOK_NON_FINITE", run), std::to_string(c.value));
    } else {
      run();
    }
  }
}

TEST("dequantize: shapes that are not whole blocks and unknown types are refused") {
  const std::vector<uint8_t> bytes(4 * 144);
  std::vector<float> out(4 * 256);
  struct Case {
    int64_t byte_rows, rows, cols;
    double id;
  };
  test::run_operation(test::one_thread(), "dequantize", {bytes_of(bytes, 4)}, {test::matrix(out, 4, 256)}, {12});
  for (const Case& c : {Case{2, 4, 256, 12}, Case{4, 4, 128, 12}, Case{4, 4, 255, 12}, Case{4, 4, 256, 14},
                        Case{4, 4, 256, 4}, Case{4, 4, 256, 12.5}})
    CHECK(test::throws("MBOK_SHAPE",
                       [&] {
                         test::run_operation(test::one_thread(), "dequantize", {bytes_of(bytes, c.byte_rows)},
                                             {test::matrix(out, c.rows, c.cols)}, {c.id});
                       }),
          std::to_string(c.id));
}

}  // namespace
}  // namespace mbok
