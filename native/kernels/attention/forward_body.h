// Attention forward. body.h includes this file.

// Below any score, but finite: a query that has not yet seen a key gets e^0 instead of NaN.
constexpr float kNothing = -3e38f;

// Turns products of queries and keys into scores. Softcapped scores are final. Others are stored raw, and the
// exponential applies the scale.
struct Scores {
  float scale, softcap;
  float left() const { return softcap > 0 ? 1 : scale; }  // factor still missing from a stored score
};

MBOK_INLINE void cap_scores(const Scores& s, float* scores, int64_t count) {
  if (s.softcap <= 0) return;
  const Vec in = broadcast(s.scale / s.softcap), out = broadcast(s.softcap);
  for (int64_t x = 0; x < count; x += kLanes) store(scores + x, out * tanh(in * load(scores + x)));
}

struct Running {
  float* largest;  // stored score, before the factor left()
  float* sum;
};

// Turns stored scores [keys][queries] into e^(scale·(score − largest)) and updates the running maximum and sum.
// `factor` receives the factor that rescales everything accumulated so far.
MBOK_INLINE void softmax_block(float* scores, int64_t keys, int64_t width, float scale, const Running& running,
                               float* factor) {
  for (int64_t x = 0; x < width; x += kLanes) {
    const Vec before = load(running.largest + x);
    Vec even = before, odd = before;
    int64_t j = 0;
    for (; j + 2 <= keys; j += 2) {
      even = max(even, load(scores + j * kAttentionQueries + x));
      odd = max(odd, load(scores + (j + 1) * kAttentionQueries + x));
    }
    if (j < keys) even = max(even, load(scores + j * kAttentionQueries + x));
    const Vec largest = max(even, odd);
    const Vec s = broadcast(scale);
    Vec sum = zero();
    for (j = 0; j < keys; ++j) {
      float* at = scores + j * kAttentionQueries + x;
      const Vec p = exp((load(at) - largest) * s);
      sum = sum + p;
      store(at, p);
    }
    const Vec shrink = exp((before - largest) * s);
    store(factor + x, shrink);
    store(running.largest + x, largest);
    store(running.sum + x, fma(load(running.sum + x), shrink, sum));
  }
}

// Source: element type of keys and values.
template <class Source>
void attention_block(const AttentionBlock& b, float* scratch) {
  const auto *const keys_at = static_cast<const typename Source::Element*>(b.k),
                    *const values_at = static_cast<const typename Source::Element*>(b.v);
  constexpr int64_t kQ = kAttentionQueries, kK = kAttentionKeys;
  const int64_t d = b.d, padded = round_up(d, 16), width = round_up(b.count, kLanes);
  float* q = scratch;          // transposed
  float* o = q + padded * kQ;  // transposed
  float* k = o + padded * kQ;
  float* v = k + padded * kK;
  float* scores = v + padded * kK;
  const Running running = {scores + kK * kQ, scores + kK * kQ + kQ};
  float factor[kQ];
  const Scores map = {b.scale, b.softcap};

  const AttentionBf16* const bf16 = b.bf16;
  if (bf16 != nullptr) {
    bf16->rows({b.q, b.q_stride, b.count, d, kQ}, q);
  } else {
    for (int64_t c = 0; c < d; ++c)
      for (int64_t i = width - kLanes; i < width; ++i) q[c * kQ + i] = 0;  // lanes without a query
    transpose(b.q, b.q_stride, b.count, d, q, kQ);
  }
  for (int64_t x = 0; x < width; x += kLanes) {
    store(running.largest + x, broadcast(kNothing));
    store(running.sum + x, zero());
  }

  // bf16 packs pairs of positions, which begin at even ones
  const int64_t begin = first_key(b.first, b.window) / 2 * 2, end = b.first + b.count;
  for (int64_t key = begin; key < end; key += kK) {
    const int64_t keys = smaller(kK, end - key);
    if (bf16 != nullptr) {
      bf16->product({bf16->k_rows + key * bf16->row_stride, bf16->row_stride, 1, q, scores, kQ, keys, width, d / 2,
                     false, nullptr});
    } else {
      gather_rows<Source>(keys_at + key * b.k_stride, b.k_stride, keys, d, k, padded);
      multiply({k, padded, 1, q, kQ, scores, kQ, keys, width, d, false});
    }
    for (int64_t j = 0; j < keys; ++j) cap_scores(map, scores + j * kQ, width);
    if (!all_seen(b.first, b.count, key, keys, b.window))
      for (int64_t j = 0; j < keys; ++j)
        for (int64_t x = 0; x < width; x += kLanes) {
          float* at = scores + j * kQ + x;
          store(at, select(seen(b.first + x, key + j, b.window), load(at), broadcast(-__builtin_inff())));
        }
    softmax_block(scores, keys, width, map.left(), running, factor);
    if (key > begin)
      for (int64_t c = 0; c < d; ++c)
        for (int64_t x = 0; x < width; x += kLanes) store(o + c * kQ + x, load(o + c * kQ + x) * load(factor + x));
    if (bf16 != nullptr) {
      bf16->columns({scores, kQ, width, keys, kQ}, k);  // bf16 copies no keys or values, so k has room for a panel
      bf16->product({bf16->v_pairs + key / 2 * bf16->pair_stride, 1, bf16->pair_stride, k, o, kQ, d, width,
                     (keys + 1) / 2, key > begin, nullptr});
    } else {
      gather_rows<Source>(values_at + key * b.v_stride, b.v_stride, keys, d, v, padded);
      multiply({v, 1, padded, scores, kQ, o, kQ, d, width, keys, key > begin});
    }
  }

  for (int64_t x = 0; x < width; x += kLanes) {
    const Vec inverse = broadcast(1.0f) / load(running.sum + x);
    for (int64_t c = 0; c < d; ++c) store(o + c * kQ + x, load(o + c * kQ + x) * inverse);
  }
  transpose(o, kQ, d, b.count, b.o, b.o_stride);
  if (b.lse != nullptr)
    for (int64_t i = 0; i < b.count; ++i)
      b.lse[i * b.lse_stride] = running.largest[i] * map.left() + __builtin_logf(running.sum[i]);
}

// Prefetch distance in keys for a single query. Without prefetch, streams that alternate every 64 keys take 1/3 longer.
constexpr int64_t kPrefetchKeys = 16;

template <class Element>
MBOK_INLINE void prefetch_row(const Element* row, int64_t d) {
  constexpr int64_t kLine = 64 / sizeof(Element);
  for (int64_t c = 0; c < d; c += kLine) __builtin_prefetch(row + c);
}

// o += Σ_key p[key] · v[key] for `keys` keys. o has Chunks registers, of n lanes each if Chunks is 1.
template <class Source, int Chunks>
MBOK_INLINE void add_values(const float* p, const typename Source::Element* v, int64_t stride, int64_t keys, float* o,
                            int64_t n) {
  Vec even[Chunks], odd[Chunks];
  MBOK_UNROLL
  for (int c = 0; c < Chunks; ++c) {
    even[c] = load_n(o + c * kLanes, n);
    odd[c] = zero();
  }
  int64_t j = 0;
  for (; j + 2 <= keys; j += 2, v += 2 * stride) {
    const Vec first = broadcast(p[j]), second = broadcast(p[j + 1]);
    prefetch_row(v + kPrefetchKeys * stride, Chunks * kLanes);
    prefetch_row(v + (kPrefetchKeys + 1) * stride, Chunks * kLanes);
    MBOK_UNROLL
    for (int c = 0; c < Chunks; ++c) {
      even[c] = fma(first, Source::load_n(v + c * kLanes, n), even[c]);
      odd[c] = fma(second, Source::load_n(v + stride + c * kLanes, n), odd[c]);
    }
  }
  MBOK_UNROLL
  for (int c = 0; c < Chunks; ++c) {
    if (j < keys) even[c] = fma(broadcast(p[j]), Source::load_n(v + c * kLanes, n), even[c]);
    store_n(o + c * kLanes, even[c] + odd[c], n);
  }
}

// Attention of a single query, for decode. Lanes hold components of the head, as there are no queries to fill them.
template <class Source>
void attention_row(const AttentionBlock& b, int64_t row, float* scratch) {
  using Element = typename Source::Element;
  constexpr int kChunks = 4;
  const int64_t d = b.d, position = b.first + row;
  const float* q = b.q + row * b.q_stride;
  float* o = scratch;
  float* scores = o + round_up(d, 16);
  const Scores map = {b.scale, b.softcap};
  for (int64_t c = 0; c < d; ++c) o[c] = 0;
  float largest = kNothing, sum = 0;
  const int64_t begin = first_key(position, b.window), end = position + 1;
  for (int64_t key = begin; key < end; key += kAttentionKeys) {
    const int64_t keys = smaller(kAttentionKeys, end - key);
    const Element* v = static_cast<const Element*>(b.v) + key * b.v_stride;
    for (int64_t j = 0; j < keys; ++j) {
      const Element* k = static_cast<const Element*>(b.k) + (key + j) * b.k_stride;
      prefetch_row(k + kPrefetchKeys * b.k_stride, d);
      Vec dot = zero();
      int64_t c = 0;
      for (; c + kLanes <= d; c += kLanes) dot = fma(load(q + c), Source::load(k + c), dot);
      if (c < d) dot = fma(load_n(q + c, d - c), Source::load_n(k + c, d - c), dot);
      scores[j] = reduce_add(dot);
    }
    for (int64_t j = keys; j < round_up(keys, kLanes); ++j) scores[j] = 0;
    cap_scores(map, scores, round_up(keys, kLanes));
    float top = largest;
    for (int64_t j = 0; j < keys; ++j) top = scores[j] > top ? scores[j] : top;
    float shrink[kLanes];
    store(shrink, exp(broadcast((largest - top) * map.left())));
    Vec total = zero();
    for (int64_t j = 0; j < keys; j += kLanes) {
      const int64_t n = smaller(kLanes, keys - j);
      const Vec p = exp((load_n(scores + j, n) - broadcast(top)) * broadcast(map.left()));
      store_n(scores + j, p, n);
      total = total + select(first_lanes(n), p, zero());
    }
    largest = top;
    sum = sum * shrink[0] + reduce_add(total);
    for (int64_t c = 0; c < d; ++c) o[c] *= shrink[0];
    int64_t c = 0;
    for (; c + kChunks * kLanes <= d; c += kChunks * kLanes)
      add_values<Source, kChunks>(scores, v + c, b.v_stride, keys, o + c, kLanes);
    for (; c < d; c += kLanes) add_values<Source, 1>(scores, v + c, b.v_stride, keys, o + c, smaller(kLanes, d - c));
  }
  for (int64_t c = 0; c < d; ++c) b.o[row * b.o_stride + c] = o[c] / sum;
  if (b.lse != nullptr) b.lse[row * b.lse_stride] = largest * map.left() + __builtin_logf(sum);
}

template <class Source>
void attention_rows(const AttentionBlock& b, float* scratch) {
  // a block costs as much as whole registers of queries, so few queries are cheaper one by one
  if (b.count > kLanes / 4) {
    attention_block<Source>(b, scratch);
    return;
  }
  for (int64_t row = 0; row < b.count; ++row) attention_row<Source>(b, row, scratch);
}
