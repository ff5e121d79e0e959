#include <cfloat>
#include <cmath>

#include "kernels/signal_update/signal_update.h"

namespace mbok::scalar {
namespace {

#include "kernels/signal_update/nearest_level.h"

bool bit(const uint64_t* bits, int64_t j) { return (bits[j / 64] >> (j % 64)) & 1u; }

float signal(const float* g, float s_out, const float* s_in, int64_t j) {
  const float q = g[j] * s_out;
  return s_in == nullptr ? q : q * s_in[j];
}

}  // namespace

float scale_gradient(const float* g, const uint64_t* bits, float s_out, const float* s_in, float* ds_in, int64_t cols) {
  float sum = 0;
  for (int64_t j = 0; j < cols; ++j) {
    const float gb = bit(bits, j) ? g[j] : -g[j];
    ds_in[j] += gb * s_out;
    sum += gb * s_in[j];
  }
  return sum;
}

float signal_squares(const float* g, float s_out, const float* s_in, float* column, int64_t cols) {
  float sum = 0;
  for (int64_t j = 0; j < cols; ++j) {
    const float q = signal(g, s_out, s_in, j);
    const float square = q * q <= FLT_MAX ? q * q : 0.0f;
    column[j] += square;
    sum += square;
  }
  return sum;
}

float signal_magnitude(const float* g, float s_out, const float* s_in, int64_t cols) {
  float sum = 0;
  for (int64_t j = 0; j < cols; ++j) {
    const float magnitude = std::fabs(signal(g, s_out, s_in, j));
    sum += magnitude <= FLT_MAX ? magnitude : 0.0f;
  }
  return sum;
}

void add_signal(const float* g, float s_out, const float* s_in, float* q, int64_t cols) {
  for (int64_t j = 0; j < cols; ++j) q[j] += signal(g, s_out, s_in, j);
}

void accumulate(float* m, const float* g, float beta, float row, const float* column, int64_t cols) {
  for (int64_t j = 0; j < cols; ++j) {
    const float next = beta * m[j] + (g[j] * row) * column[j];
    if (std::fabs(next) <= FLT_MAX) m[j] = next;
  }
}

int64_t flip(float* m, uint64_t* bits, float retained, int64_t cols) {
  int64_t flips = 0;
  for (int64_t j = 0; j < cols; ++j) {
    if (!(bit(bits, j) ? m[j] >= 1.0f : m[j] <= -1.0f)) continue;
    bits[j / 64] ^= uint64_t{1} << (j % 64);
    m[j] = -std::copysign(retained, m[j]);
    ++flips;
  }
  return flips;
}

int64_t move(float* m, const MoveRow& row, float retained, int64_t cols) {
  int64_t moves = 0;
  for (int64_t j = 0; j < cols; ++j) {
    float u[kMaxMoveKernels];
    for (int k = 0; k < row.kernels; ++k) {
      const float s = row.s_out[k] * row.s_in[k * row.s_in_stride + j];
      u[k] = bit(row.bits + k * row.bits_stride, j) == !std::signbit(m[j]) ? s : -s;
    }
    const NearestLevel nearest = nearest_level(u, row.kernels);
    if (!(nearest.set != 0 && std::fabs(m[j]) * std::fabs(u[row.kernels - 1]) >= nearest.half_gap)) continue;
    for (int k = 0; k < row.kernels; ++k)
      if ((nearest.set >> k) & 1) row.bits[k * row.bits_stride + j / 64] ^= uint64_t{1} << (j % 64);
    m[j] = -std::copysign(retained * (nearest.half_gap / std::fabs(u[row.kernels - 1])), m[j]);
    ++moves;
  }
  return moves;
}

}  // namespace mbok::scalar
