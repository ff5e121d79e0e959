#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/half/half.h"

namespace mbok::scalar {
namespace {

double dot(const float* a, const float* b, int64_t d) {
  double sum = 0;
  for (int64_t c = 0; c < d; ++c) sum += static_cast<double>(a[c]) * b[c];
  return sum;
}

// Returns the score for a product of query and key.
double score(double product, float scale, float softcap) {
  return softcap > 0 ? softcap * std::tanh(scale * product / softcap) : scale * product;
}

// Returns the first key that the query at `position` sees.
int64_t first_key(int64_t position, int64_t window) {
  return window > 0 && position + 1 > window ? position + 1 - window : 0;
}

}  // namespace

void attention(const AttentionBlock& b, float*) {
  // row j of keys or values
  const auto row = [&b](const void* base, int64_t stride, int64_t j, float* widened) {
    if (!b.halves) return static_cast<const float*>(base) + j * stride;
    f16_widen(static_cast<const uint16_t*>(base) + j * stride, widened, b.d);
    return static_cast<const float*>(widened);
  };
  float widened[kAttentionMaxHead];
  for (int64_t i = 0; i < b.count; ++i) {
    const int64_t position = b.first + i;
    const float* q = b.q + i * b.q_stride;
    double largest = -INFINITY;
    for (int64_t j = first_key(position, b.window); j <= position; ++j)
      largest = std::fmax(largest, score(dot(q, row(b.k, b.k_stride, j, widened), b.d), b.scale, b.softcap));
    double sum = 0;
    double out[kAttentionMaxHead] = {};
    for (int64_t j = first_key(position, b.window); j <= position; ++j) {
      const double p = std::exp(score(dot(q, row(b.k, b.k_stride, j, widened), b.d), b.scale, b.softcap) - largest);
      sum += p;
      const float* v = row(b.v, b.v_stride, j, widened);
      for (int64_t c = 0; c < b.d; ++c) out[c] += p * v[c];
    }
    for (int64_t c = 0; c < b.d; ++c) b.o[i * b.o_stride + c] = static_cast<float>(out[c] / sum);
    if (b.lse != nullptr) b.lse[i * b.lse_stride] = static_cast<float>(largest + std::log(sum));
  }
}

void attention_gradient(const AttentionGradientGroup& g, float*) {
  for (int64_t head = 0; head < g.heads; ++head)
    for (int64_t i = g.first_query; i < g.end_query; ++i) {
      const int64_t at = i * g.q_stride + head * g.d;
      const double back = dot(g.d_o + at, g.o + at, g.d);
      double dq[kAttentionMaxHead] = {};
      for (int64_t j = first_key(i, g.window); j <= i; ++j) {
        const int64_t kv = j * g.kv_stride;
        const double s = score(dot(g.q + at, g.k + kv, g.d), g.scale, g.softcap);
        const double p = std::exp(s - g.lse[i * g.lse_stride + head]);
        const double slope = g.softcap > 0 ? 1 - std::pow(s / g.softcap, 2) : 1;
        const double ds = slope * g.scale * p * (dot(g.d_o + at, g.v + kv, g.d) - back);
        for (int64_t c = 0; c < g.d; ++c) {
          dq[c] += ds * g.k[kv + c];
          g.dk[j * g.dkv_stride + c] += static_cast<float>(ds * g.q[at + c]);
          g.dv[j * g.dkv_stride + c] += static_cast<float>(p * g.d_o[at + c]);
        }
      }
      for (int64_t c = 0; c < g.d; ++c) g.dq[at + c] = static_cast<float>(dq[c]);
    }
}

}  // namespace mbok::scalar
