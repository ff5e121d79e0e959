#include "kernels/refit/refit.h"

#include <cmath>

namespace mbok::scalar {
namespace {

double sign_at(const uint64_t* bits, int64_t j) { return (bits[j / 64] >> (j % 64)) & 1 ? 1.0 : -1.0; }

}  // namespace

unsigned nearest_code(float w, const float* magnitude, int kernels, float* level) {
  const int last = kernels - 1;
  const unsigned all = (1u << kernels) - 1;
  float best = INFINITY, best_level = 0;
  unsigned best_negatives = 0;
  for (unsigned c = 0; c < 1u << last; ++c) {  // bits of c: the kernels with sign −, so that + comes before −
    float sum = magnitude[last];
    for (int k = last - 1; k >= 0; --k) sum = (c >> k) & 1 ? sum - magnitude[k] : sum + magnitude[k];
    const float distance = std::fabs(std::fabs(sum) - std::fabs(w));
    if (distance < best) {
      best = distance;
      best_level = sum;
      best_negatives = c;
    }
  }
  *level = w < 0 ? -std::fabs(best_level) : std::fabs(best_level);
  return (best_level < 0) != (w < 0) ? best_negatives : all ^ best_negatives;
}

void nearest_levels(const float* w, const CodeRow<uint64_t>& row, int64_t n) {
  for (int64_t start = 0; start < n; start += 64) {
    uint64_t words[kMaxRefitKernels] = {};
    for (int64_t j = start; j < n && j < start + 64; ++j) {
      float magnitude[kMaxRefitKernels];
      for (int k = 0; k < row.kernels; ++k) magnitude[k] = row.s_out[k] * row.s_in[k * row.s_in_stride + j];
      float level;
      const uint64_t code = nearest_code(w[j], magnitude, row.kernels, &level);
      for (int k = 0; k < row.kernels; ++k) words[k] |= ((code >> k) & 1) << (j - start);
    }
    for (int k = 0; k < row.kernels; ++k) row.bits[k * row.bits_stride + start / 64] = words[k];
  }
}

void row_sums(const float* w, const CodeRow<const uint64_t>& row, int64_t n, double* gram, double* moment) {
  const int kernels = row.kernels;
  for (int i = 0; i < kernels * kernels; ++i) gram[i] = 0;
  for (int k = 0; k < kernels; ++k) moment[k] = 0;
  for (int64_t j = 0; j < n; ++j) {
    double p[kMaxRefitKernels];
    for (int k = 0; k < kernels; ++k)
      p[k] = sign_at(row.bits + k * row.bits_stride, j) * static_cast<double>(row.s_in[k * row.s_in_stride + j]);
    for (int k = 0; k < kernels; ++k) {
      for (int l = 0; l < kernels; ++l) gram[k * kernels + l] += p[k] * p[l];
      moment[k] += p[k] * w[j];
    }
  }
}

void column_sums(const float* w, int64_t w_stride, int64_t rows, const CodeStrip& strip, int64_t cols, double* gram,
                 double* moment) {
  const int kernels = strip.kernels;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) {
      double p[kMaxRefitKernels];
      for (int k = 0; k < kernels; ++k)
        p[k] = sign_at(strip.bits + k * strip.kernel_stride + i * strip.row_stride, j) *
               static_cast<double>(strip.s_out[k * strip.s_out_stride + i]);
      for (int k = 0; k < kernels; ++k) {
        for (int l = k + 1; l < kernels; ++l) gram[(k * kernels + l) * 64 + j] += p[k] * p[l];
        moment[k * 64 + j] += p[k] * w[i * w_stride + j];
      }
    }
}

double residual_row(const float* w, const CodeRow<const uint64_t>& row, int64_t n, float* out) {
  double squares = 0;
  for (int64_t j = 0; j < n; ++j) {
    float rest = w[j];
    for (int k = 0; k < row.kernels; ++k) {
      const float magnitude = row.s_out[k] * row.s_in[k * row.s_in_stride + j];
      rest = sign_at(row.bits + k * row.bits_stride, j) > 0 ? rest - magnitude : rest + magnitude;
    }
    squares += static_cast<double>(rest) * rest;
    if (out != nullptr) out[j] = rest;
  }
  return squares;
}

void design_row(const uint64_t* bits, const float* s_in, int64_t n, float* out) {
  for (int64_t j = 0; j < n; ++j) out[j] = sign_at(bits, j) > 0 ? s_in[j] : -s_in[j];
}

}  // namespace mbok::scalar
