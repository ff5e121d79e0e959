// Attention in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

namespace {
#include "kernels/attention/product_body.h"
#include "kernels/attention/forward_body.h"
#include "kernels/attention/backward_body.h"
}  // namespace

void attention(const AttentionBlock& b, float* scratch) {
  b.halves ? attention_rows<F16>(b, scratch) : attention_rows<F32>(b, scratch);
}

void attention_gradient(const AttentionGradientGroup& g, float* scratch) { attention_gradient_group(g, scratch); }
