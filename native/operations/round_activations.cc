// Rounds the inputs of a linear layer as a low-bit processor would read them, and returns them in f32. Every 64 numbers
// of a row are rotated by a Hadamard matrix, which spreads outlier channels (dense_product.h), rounded to integers with
// one scale, and rotated back.
//
//   bits b   levels    scale
//   8, 4     2^b − 1   max |x| is the largest level
//   2        3         1.22 standard deviations: least error for normal numbers, which rotated ones nearly are
//                      (Max, "Quantizing for Minimum Distortion", 1960)
//   1        2         sign(x) · mean |x|, the closest such block
//
//   x [R,n] → y [R,n], which may be x; attribute: b
#include <cmath>

#include "kernels/dense_product/rotate.h"
#include "kernels/simd/round_block.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

void check(const Call& call) {
  expect_counts(call, 1, 1, 1);
  const Tensor& x = call.input(0);
  expect_tensor(call, x, "x", TensorType::kF32, x.rows, x.cols);
  expect_tensor(call, call.output(0), "y", TensorType::kF32, x.rows, x.cols);
  const int64_t bits = call.integer(0);
  expect(call, bits == 8 || bits == 4 || bits == 2 || bits == 1, "activations have 8, 4, 2 or 1 bits");
}

float mean_magnitude(const float* values) {
  float sum = 0;
  for (int64_t j = 0; j < kRotated; ++j) sum += std::fabs(values[j]);
  return sum / kRotated;
}

scalar::BlockScale scale_of(const float* values, int64_t bits, float most) {
  if (bits > 2) return scalar::block_scale(values, kRotated, most);
  const float scale = 1.22f / 0.798f * mean_magnitude(values);  // the mean magnitude is √(2/π) deviations
  return scalar::block_scale(&scale, 1, 1);
}

void round_levels(float* values, int64_t bits) {
  const auto most = static_cast<float>((1 << (bits - 1)) - 1);
  const scalar::BlockScale scale = scale_of(values, bits, most);
  for (int64_t j = 0; j < kRotated; ++j)
    values[j] = static_cast<float>(scalar::rounded(values[j], scale, most)) * scale.scale;
}

void round_signs(float* values) {
  const float mean = mean_magnitude(values);
  for (int64_t j = 0; j < kRotated; ++j) values[j] = std::copysign(mean, values[j]);
}

// Rounds one block; numbers of x past `count` are zero.
void round_block(const float* x, int64_t count, int64_t bits, float* y) {
  float values[kRotated];
  for (int64_t j = 0; j < kRotated; ++j) values[j] = j < count ? x[j] : 0;
  scalar::rotate(values);
  if (bits == 1)
    round_signs(values);
  else
    round_levels(values, bits);
  scalar::rotate(values);
  for (int64_t j = 0; j < count; ++j) y[j] = values[j] / kRotated;
}

void run(const Call& call) {
  const Tensor& x = call.input(0);
  const int64_t bits = call.integer(0), cols = x.cols;
  call.pool->parallel_for(x.rows, [&](int64_t row, int) {
    const float* const from = x.f32() + row * cols;
    float* const to = call.output(0).f32() + row * cols;
    for (int64_t j = 0; j < cols; j += kRotated)
      round_block(from + j, cols - j < kRotated ? cols - j : kRotated, bits, to + j);
  });
}

}  // namespace

extern const Operation round_activations_operation;
const Operation round_activations_operation = {"round_activations", check, nullptr, run, false};

}  // namespace mbok
