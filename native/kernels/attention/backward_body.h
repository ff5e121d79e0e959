// Attention backward. body.h includes this file.

// What is constant while the blocks of keys of one block of queries are processed.
struct QueryBlock {
  int64_t first, count, width;
  const float *q, *d_o;    // [query][component]
  const float *qt, *d_ot;  // [component][query]
  float* dqt;
  const float *lse, *back;             // back: D of attention.h
  const float *q_panels, *d_o_panels;  // bf16: [component / 64][query / 2][64]; qt and d_ot are then panels too
  float *half, *ds_panel;              // bf16: p or ds in rows; a panel of ds
};

constexpr int64_t kPanel = kAttentionQueries / 2 * kPanelCols;

// to[key … key + keys) += rows [keys][queries] (bf16, in b.half) times the panels' [queries][d].
MBOK_INLINE void add_products(const AttentionGradientGroup& g, const QueryBlock& b, int64_t keys, const float* panels,
                              float* to) {
  for (int64_t c = 0; c < g.d; c += kPanelCols, panels += kPanel)
    g.bf16->product({b.half, kAttentionQueries / 2, 1, panels, to + c, g.dkv_stride, keys, smaller(kPanelCols, g.d - c),
                     (b.count + 1) / 2, true, nullptr});
}

MBOK_INLINE void key_block(const AttentionGradientGroup& g, const QueryBlock& b, int64_t key, int64_t keys,
                           const float* k, const float* v, float* p, float* ds) {
  constexpr int64_t kQ = kAttentionQueries;
  const int64_t d = g.d, padded = round_up(d, 16);
  const AttentionBf16* const bf16 = g.bf16;
  if (bf16 != nullptr) {
    const int64_t stride = bf16->row_stride;
    bf16->product({bf16->k_rows + key * stride, stride, 1, b.qt, p, kQ, keys, b.width, d / 2, false, nullptr});
    bf16->product({bf16->v_rows + key * stride, stride, 1, b.d_ot, ds, kQ, keys, b.width, d / 2, false, nullptr});
  } else {
    multiply({k, padded, 1, b.qt, kQ, p, kQ, keys, b.width, d, false});
    multiply({v, padded, 1, b.d_ot, kQ, ds, kQ, keys, b.width, d, false});
  }
  const bool whole = all_seen(b.first, b.count, key, keys, g.window);
  const Scores map = {g.scale, g.softcap};
  for (int64_t j = 0; j < keys; ++j) cap_scores(map, p + j * kQ, b.width);
  // Slope of the cap: 1 − (score / softcap)², or 1 without a cap.
  const Vec scale = broadcast(g.scale), left = broadcast(map.left()), one = broadcast(1.0f);
  const Vec inverse = broadcast(g.softcap > 0 ? 1 / g.softcap : 0);
  for (int64_t j = 0; j < keys; ++j)
    for (int64_t x = 0; x < b.width; x += kLanes) {
      const int64_t at = j * kQ + x;
      const Vec capped = load(p + at) * inverse;
      Vec probability = exp(fma(load(p + at), left, -load(b.lse + x)));
      if (!whole) probability = select(seen(b.first + x, key + j, g.window), probability, zero());
      store(p + at, probability);
      store(ds + at, probability * fnma(capped, capped, one) * scale * (load(ds + at) - load(b.back + x)));
    }
  if (bf16 != nullptr) {
    auto* const half = reinterpret_cast<uint16_t*>(b.half);
    bf16->convert(p, keys, kQ, half);
    add_products(g, b, keys, b.d_o_panels, g.dv + key * g.dkv_stride);
    bf16->convert(ds, keys, kQ, half);
    add_products(g, b, keys, b.q_panels, g.dk + key * g.dkv_stride);
    bf16->columns({ds, kQ, b.width, keys, kQ}, b.ds_panel);
    bf16->product({bf16->k_pairs + key / 2 * bf16->pair_stride, 1, bf16->pair_stride, b.ds_panel, b.dqt, kQ, d, b.width,
                   (keys + 1) / 2, true, nullptr});
    return;
  }
  multiply({p, kQ, 1, b.d_o, padded, g.dv + key * g.dkv_stride, g.dkv_stride, keys, d, b.count, true});
  multiply({ds, kQ, 1, b.q, padded, g.dk + key * g.dkv_stride, g.dkv_stride, keys, d, b.count, true});
  multiply({k, 1, padded, ds, kQ, b.dqt, kQ, d, b.width, keys, true});
}

// Processes all heads and their blocks of queries in order, so dk and dv accumulate in place.
void attention_gradient_group(const AttentionGradientGroup& g, float* scratch) {
  constexpr int64_t kQ = kAttentionQueries, kK = kAttentionKeys;
  const int64_t d = g.d, padded = round_up(d, 16), block = padded * kQ;
  float* qt = scratch;
  float* d_ot = qt + block;
  float* dqt = d_ot + block;
  float* q = dqt + block;
  float* d_o = q + block;
  float* k = d_o + block;
  float* v = k + padded * kK;
  float* p = v + padded * kK;
  float* ds = p + kK * kQ;
  float* lse = ds + kK * kQ;
  float* back = lse + kQ;
  float* ds_panel = back + kQ;
  float* half = ds_panel + kPanel;
  float* q_panels = half + kPanel;
  float* d_o_panels = q_panels + (d + kPanelCols - 1) / kPanelCols * kPanel;
  const AttentionBf16* const bf16 = g.bf16;

  for (int64_t head = 0; head < g.heads; ++head)
    for (int64_t first = g.first_query; first < g.end_query; first += kQ) {
      const int64_t count = smaller(kQ, g.end_query - first), width = round_up(count, kLanes);
      const int64_t at = first * g.q_stride + head * d;
      gather_rows<F32>(g.q + at, g.q_stride, count, d, q, padded);
      gather_rows<F32>(g.d_o + at, g.q_stride, count, d, d_o, padded);
      for (int64_t c = 0; c < d; ++c)
        for (int64_t i = 0; i < width; i += kLanes) {
          store(dqt + c * kQ + i, zero());
          if (i + kLanes > count) {  // lanes without a query
            store(qt + c * kQ + i, zero());
            store(d_ot + c * kQ + i, zero());
          }
        }
      if (bf16 != nullptr) {
        bf16->rows({q, padded, count, d, kQ}, qt);
        bf16->rows({d_o, padded, count, d, kQ}, d_ot);
        for (int64_t c = 0; c < d; c += kPanelCols) {
          const int64_t items = smaller(kPanelCols, d - c), at_panel = c / kPanelCols * kPanel;
          bf16->columns({q + c, padded, items, count, kPanelCols}, q_panels + at_panel);
          bf16->columns({d_o + c, padded, items, count, kPanelCols}, d_o_panels + at_panel);
        }
      } else {
        transpose(q, padded, count, d, qt, kQ);
        transpose(d_o, padded, count, d, d_ot, kQ);
      }
      for (int64_t i = 0; i < width; ++i) {
        lse[i] = i < count ? g.lse[(first + i) * g.lse_stride + head] : 0;
        Vec dot = zero();
        const float* o = g.o + at + i * g.q_stride;
        for (int64_t c = 0; c < d && i < count; c += kLanes)
          dot = fma(load_n(o + c, smaller(kLanes, d - c)), load_n(d_o + i * padded + c, smaller(kLanes, d - c)), dot);
        back[i] = reduce_add(dot);
      }
      const QueryBlock b = {first, count, width, q,        d_o,        qt,   d_ot,
                            dqt,   lse,   back,  q_panels, d_o_panels, half, ds_panel};
      for (int64_t key = first_key(first, g.window) / 2 * 2; key < first + count; key += kK) {
        const int64_t keys = smaller(kK, first + count - key);
        if (bf16 == nullptr) {
          gather_rows<F32>(g.k + key * g.kv_stride, g.kv_stride, keys, d, k, padded);
          gather_rows<F32>(g.v + key * g.kv_stride, g.kv_stride, keys, d, v, padded);
        }
        key_block(g, b, key, keys, k, v, p, ds);
      }
      transpose(dqt, kQ, d, count, g.dq + at, g.q_stride);
    }
}
