// Causal grouped-query attention in blocks, without a matrix of all scores (FlashAttention, arXiv 2205.14135).
//
// The query at position i of a sequence sees the keys j ≤ i and, if window > 0, only j > i − window:
//   o_i = Σ_j p_ij v_j,  p_ij = e^(s_ij − lse_i),  lse_i = log Σ_j e^(s_ij),
//   s_ij = scale·q_i·k_j, or softcap·tanh(scale·q_i·k_j / softcap) if softcap > 0;
// with D_i = do_i·o_i and ds_ij = scale·p_ij (do_i·v_j − D_i), times 1 − (s_ij / softcap)² if softcap > 0:
//   dq_i = Σ_j ds_ij k_j,  dk_j = Σ_i ds_ij q_i,  dv_j = Σ_i p_ij do_i  (summed over the heads that share the keys).
//
// Every head has d floats (d even, at most 256) within the rows of its tensor. Strides are floats from row to row.
//
// Layout. Vector versions put queries in lanes: scores, probabilities, outputs and dq are transposed, [key or
// component][query]. Softmax then needs no sums across lanes, and every product broadcasts one number, multiplies it
// with a run of lanes and accumulates in registers. Keys and values are copied block by block to unit stride, because
// rows of a wide model lie a multiple of 4 KiB apart and would compete for a few cache sets.
//
// Budget. A pair of query and key costs 2d fused multiply-adds forward, 5d backward and one exponential: compute-bound.
// Decode has a single query and reads every key and value once: 4d bytes per key in f16, 8d in f32. Memory-bound.
#pragma once

#include <cstdint>

#include "kernels/dense_panel/dense_panel.h"
#include "kernels/dense_product/dense_product.h"
#include "runtime/dispatch.h"

namespace mbok {

constexpr int64_t kAttentionQueries = 64;  // per block: 16 KiB of scores, half of a 32 KiB L1
constexpr int64_t kAttentionKeys = 64;
constexpr int64_t kAttentionMaxHead = 256;

// Products in bf16: the functions that multiply and pack, and the packed keys and values of one key-value head from
// position 0 of the sequence. Scores and sums between the products stay f32. Strides are in 32-bit steps.
struct AttentionBf16 {
  DenseProductFunction* product;
  DensePanelFunction *rows, *columns;
  Bf16ConvertFunction* convert;
  const float *k_rows, *v_rows;    // [position][d/2]: two components per step
  const float *k_pairs, *v_pairs;  // [position/2][d]: two positions per step
  int64_t row_stride, pair_stride;
};

struct AttentionBlock {
  const float* q;  // first query of the block
  const void* k;   // key at position 0 of the sequence
  const void* v;
  bool halves;  // keys and values are f16, not f32; bf16 is null then
  float* o;
  float* lse;  // may be null
  int64_t q_stride, k_stride, v_stride, o_stride, lse_stride;
  int64_t first;  // position of the first query
  int64_t count;  // queries, at most kAttentionQueries; keys 0 … first + count − 1 exist
  int64_t d;
  float scale;                          // > 0
  int64_t window;                       // 0: none
  float softcap;                        // 0: none
  const AttentionBf16* bf16 = nullptr;  // null: f32
};

// The gradient of queries first_query … end_query − 1 of one sequence with respect to one key-value head. Every pointer
// is at position 0 of the sequence. Pointers q, o, d_o, lse and dq are at the first query head of the group. The next
// heads follow at a distance of d floats (lse: 1). dk and dv are accumulated.
struct AttentionGradientGroup {
  const float *q, *k, *v, *o, *d_o, *lse;
  float *dq, *dk, *dv;
  int64_t q_stride;    // of q, o, d_o and dq
  int64_t kv_stride;   // of k and v
  int64_t dkv_stride;  // of dk and dv
  int64_t lse_stride;
  int64_t first_query, end_query;
  int64_t heads;  // query heads that share the key-value head
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
MBOK_DECLARE_VECTOR(AttentionFunction attention; AttentionGradientFunction attention_gradient;)

extern const KernelTable<AttentionFunction> attention_table;
extern const KernelTable<AttentionGradientFunction> attention_gradient_table;

}  // namespace mbok
