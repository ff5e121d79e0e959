// Attention in terms of Vec; included by avx2.cc, avx512.cc and neon.cc inside their namespaces.

namespace {
#include "kernels/attention/product_body.h"
#include "kernels/attention/forward_body.h"
#include "kernels/attention/backward_body.h"
}  // namespace

void attention(const AttentionBlock& b, float* scratch) {
  // with queries in lanes a block costs as much as whole registers of queries
  if (b.count > kLanes / 4) {
    attention_block(b, scratch);
    return;
  }
  for (int64_t row = 0; row < b.count; ++row) attention_row(b, row, scratch);
}

void attention_gradient(const AttentionGradientGroup& g, float* scratch) { attention_gradient_group(g, scratch); }
