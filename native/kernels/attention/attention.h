// Causal attention of grouped heads, in blocks, keeping no matrix of queries × keys (FlashAttention, arXiv 2205.14135).
//
// Query at position i of a sequence sees the keys j ≤ i and, where window > 0, j > i − window:
//   o_i = Σ_j p_ij v_j,  p_ij = e^(s_ij − lse_i),  lse_i = log Σ_j e^(s_ij),
//   s_ij = scale·q_i·k_j, or softcap·tanh(scale·q_i·k_j / softcap) where softcap > 0;
// with D_i = do_i·o_i and ds_ij = scale·p_ij (do_i·v_j − D_i), times 1 − (s_ij / softcap)² where softcap > 0:
//   dq_i = Σ_j ds_ij k_j,  dk_j = Σ_i ds_ij q_i,  dv_j = Σ_i p_ij do_i  (summed over the heads that share the keys).
//
// Every head is d floats wide (even, at most 256) inside rows of its tensor: strides are floats from row to row.
//
// Vector versions keep queries in lanes: scores, probabilities, outputs and dq are stored transposed, [key or
// component][query], so that softmax needs no sums across lanes and every product is "broadcast one number, multiply
// it with a run of lanes" with all accumulators in registers. Keys and values are copied block by block to unit
// stride: rows of a wide model are a multiple of 4 KiB apart and would fall into the same few cache sets.
// Cost a pair of query and key: 2d fused multiply-adds forward, 5d backward, one exponential each: compute bound. One
// query alone, in decoding, reads keys and values once: 4d bytes a key from memory where they are f16, the double in f32.
#pragma once

#include <cstdint>

#include "kernels/dense_panel/dense_panel.h"
#include "kernels/dense_product/dense_product.h"
#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kAttentionQueries = 64;  // a block: 16 KiB of scores, half of a small L1
constexpr int64_t kAttentionKeys = 64;
constexpr int64_t kAttentionMaxHead = 256;

// Products in bf16: the functions that multiply and pack, and one key-value head's keys and values as they read them, from
// position 0 of the sequence on. Scores, sums and everything between the products stay f32. Strides are 32-bit steps.
struct AttentionBf16 {
  DenseProductFunction* product;
  DensePanelFunction *rows, *columns;
  Bf16ConvertFunction* convert;
  const float *k_rows, *v_rows;    // [position][d/2]: two components a step
  const float *k_pairs, *v_pairs;  // [position/2][d]: two positions a step
  int64_t row_stride, pair_stride;
};

struct AttentionBlock {
  const float* q;  // first query of the block
  const void* k;   // key at position 0 of the sequence
  const void* v;
  bool halves;     // keys and values are f16, not f32; then bf16 is null
  float* o;
  float* lse;  // may be null
  int64_t q_stride, k_stride, v_stride, o_stride, lse_stride;
  int64_t first;  // position of the first query
  int64_t count;  // of queries, at most kAttentionQueries; keys 0 … first + count − 1 exist
  int64_t d;
  float scale;     // > 0
  int64_t window;  // 0: none
  float softcap;   // 0: none
  const AttentionBf16* bf16 = nullptr;  // null: f32
};

// What queries first_query … end_query − 1 of one sequence have to do with one key-value head; every pointer is at the
// sequence's position 0, q, o, d_o, lse and dq at the first of the query heads, the others follow at d (lse: 1) floats.
// dk and dv are added to.
struct AttentionGradientGroup {
  const float *q, *k, *v, *o, *d_o, *lse;
  float *dq, *dk, *dv;
  int64_t q_stride;    // of q, o, d_o and dq
  int64_t kv_stride;   // of k and v
  int64_t dkv_stride;  // of dk and dv
  int64_t lse_stride;
  int64_t first_query, end_query;
  int64_t heads;  // that take part
  int64_t d;
  float scale;
  int64_t window;
  float softcap;
  const AttentionBf16* bf16 = nullptr;  // null: f32
};

// Scalar functions always multiply in f32.
//
// Floats of scratch that one call needs, aligned to 64 bytes.
int64_t attention_scratch(int64_t d);
int64_t attention_gradient_scratch(int64_t d);

using AttentionFunction = void(const AttentionBlock& block, float* scratch);
using AttentionGradientFunction = void(const AttentionGradientGroup& group, float* scratch);

namespace scalar {
AttentionFunction attention;
AttentionGradientFunction attention_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(
AttentionFunction attention;
AttentionGradientFunction attention_gradient;
)

extern const KernelTable<AttentionFunction> attention_table;
extern const KernelTable<AttentionGradientFunction> attention_gradient_table;

}  // namespace mbok
