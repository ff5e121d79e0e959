// The functions of signal_update.h over Vec, included by avx2.cc and avx512.cc inside their namespaces (so no include
// guard). kLanes divides 64: a vector's bits lie in one word.
namespace {

// Whole vectors by plain loads, the tail by masked ones; body(j, n) sees n = kLanes except at the end.
#define MBOK_FOR_VECTORS(cols)                                                        \
  for (int64_t j = 0, n = (cols) < kLanes ? (cols) : kLanes; j < (cols);              \
       j += kLanes, n = (cols) - j < kLanes ? (cols) - j : kLanes)

MBOK_INLINE Vec load_some(const float* p, int64_t n) { return n == kLanes ? load(p) : load_n(p, n); }
MBOK_INLINE void store_some(float* p, Vec a, int64_t n) {
  if (n == kLanes)
    store(p, a);
  else
    store_n(p, a, n);
}

MBOK_INLINE uint64_t bits_at(const uint64_t* bits, int64_t j) { return bits[j / 64] >> (j % 64); }

MBOK_INLINE Vec signal(const float* g, Vec s_out, const float* s_in, int64_t j, int64_t n) {
  const Vec q = load_some(g + j, n) * s_out;
  return s_in == nullptr ? q : q * load_some(s_in + j, n);
}

MBOK_INLINE Vec finite_or_zero(Vec magnitude) {
  return select(magnitude <= broadcast(3.402823466e38f), magnitude, zero());
}

// K is a constant where it is small, so that the sums over the sets of bits stay in registers.
MBOK_INLINE int64_t move_row(float* m, const MoveRow& row, int64_t cols, int kernels) {
  int64_t moves = 0;
  MBOK_FOR_VECTORS(cols) {
    const Vec own = load_some(m + j, n);
    Vec u[kMaxMoveKernels];
    for (int k = 0; k < kernels; ++k) {
      const Vec s = broadcast(row.s_out[k]) * load_some(row.s_in + k * row.s_in_stride + j, n);
      u[k] = times_sign(signed_by(s, bits_at(row.bits + k * row.bits_stride, j)), own);
    }
    const Vec reach = abs(own) * abs(u[kernels - 1]);
    Vec sums[1 << kMaxMoveKernels];
    Vec best = broadcast(__builtin_inff());
    Vec pick = zero();
    sums[0] = zero();
    for (int set = 1; set < 1 << kernels; ++set) {
      const Vec sum = sums[set & (set - 1)] + u[__builtin_ctz(static_cast<unsigned>(set))];
      sums[set] = sum;
      const Mask nearer = (sum > broadcast(kLeastHalfGap)) & (sum < best);
      best = select(nearer, sum, best);
      pick = select(nearer, broadcast(static_cast<float>(set)), pick);
    }
    const Mask moved = (pick > zero()) & (reach >= best);
    if (!any(moved)) continue;
    store_some(m + j, select(moved, zero(), own), n);
    float picks[kLanes];
    store(picks, pick);
    for (uint64_t left = bits_of(moved); left != 0; left &= left - 1) {
      const int lane = __builtin_ctzll(left);
      const int set = static_cast<int>(picks[lane]);
      for (int k = 0; k < kernels; ++k)
        row.bits[k * row.bits_stride + j / 64] ^= static_cast<uint64_t>((set >> k) & 1) << (j % 64 + lane);
      ++moves;
    }
  }
  return moves;
}

}  // namespace

float scale_gradient(const float* g, const uint64_t* bits, float s_out, const float* s_in, float* ds_in,
                     int64_t cols) {
  Vec sum = zero();
  const Vec scale = broadcast(s_out);
  MBOK_FOR_VECTORS(cols) {
    const Vec gb = signed_by(load_some(g + j, n), bits_at(bits, j));
    store_some(ds_in + j, fma(gb, scale, load_some(ds_in + j, n)), n);
    sum = fma(gb, load_some(s_in + j, n), sum);
  }
  return reduce_add(sum);
}

float signal_squares(const float* g, float s_out, const float* s_in, float* column, int64_t cols) {
  Vec sum = zero();
  const Vec scale = broadcast(s_out);
  MBOK_FOR_VECTORS(cols) {
    const Vec q = signal(g, scale, s_in, j, n);
    const Vec square = finite_or_zero(q * q);
    store_some(column + j, load_some(column + j, n) + square, n);
    sum = sum + square;
  }
  return reduce_add(sum);
}

float signal_magnitude(const float* g, float s_out, const float* s_in, int64_t cols) {
  Vec sum = zero();
  const Vec scale = broadcast(s_out);
  MBOK_FOR_VECTORS(cols) sum = sum + finite_or_zero(abs(signal(g, scale, s_in, j, n)));
  return reduce_add(sum);
}

void add_signal(const float* g, float s_out, const float* s_in, float* q, int64_t cols) {
  const Vec scale = broadcast(s_out);
  MBOK_FOR_VECTORS(cols) store_some(q + j, load_some(q + j, n) + signal(g, scale, s_in, j, n), n);
}

void accumulate(float* m, const float* g, float beta, float row, const float* column, int64_t cols) {
  const Vec decay = broadcast(beta), scale = broadcast(row);
  MBOK_FOR_VECTORS(cols) {
    const Vec old = load_some(m + j, n);
    const Vec next = decay * old + (load_some(g + j, n) * scale) * load_some(column + j, n);
    store_some(m + j, select(abs(next) <= broadcast(3.402823466e38f), next, old), n);
  }
}

int64_t flip(float* m, uint64_t* bits, int64_t cols) {
  int64_t flips = 0;
  MBOK_FOR_VECTORS(cols) {
    const Vec own = load_some(m + j, n);
    const uint64_t set = bits_at(bits, j);
    // lanes beyond the row are 0 in `own`, so they never flip
    const uint64_t flipped = (bits_of(own >= broadcast(1.0f)) & set) | (bits_of(own <= broadcast(-1.0f)) & ~set);
    if (flipped == 0) continue;
    bits[j / 64] ^= flipped << (j % 64);
    store_some(m + j, select(mask_of(flipped), zero(), own), n);
    flips += __builtin_popcountll(flipped);
  }
  return flips;
}

int64_t move(float* m, const MoveRow& row, int64_t cols) {
  switch (row.kernels) {
    case 1:
      return move_row(m, row, cols, 1);
    case 2:
      return move_row(m, row, cols, 2);
    case 3:
      return move_row(m, row, cols, 3);
    default:
      return move_row(m, row, cols, row.kernels);
  }
}

#undef MBOK_FOR_VECTORS
