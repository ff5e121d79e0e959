// Written once for every Bytes (kBytes of them, in lanes of 16). Included into an anonymous namespace inside
// mbok::<isa>, after the operations on Bytes: add_even() and add_odd() add low + high · 2^kLowBits of every other group of
// eight bytes to as many sums of 16 bits.

constexpr int kVectors = kTileRows / kBytes;

// Bytes ahead of the reads: of 2 to 16 KB the best for two threads on Zen 5, twice as fast as none.
constexpr int64_t kPrefetch = 6144;

// Sums lie in groups of eight: first the even groups of a vector of bytes, then the odd ones.
MBOK_INLINE int64_t group_of(int64_t piece) {
  constexpr int64_t kHalf = kBytes / 16;
  return piece < kHalf ? 2 * piece : 2 * (piece - kHalf) + 1;
}

// Sums of a block begin with what sixteen biases add to them, taken off.
constexpr int16_t kStart = static_cast<int16_t>(-(16 * kHighBias) * (1 << kLowBits));

// sums += what a block of 64 inputs adds to the outputs of a tile, in the order of the groups.
template <int kParts>
MBOK_INLINE void add_block(const uint8_t* block, const uint8_t* tables, int64_t part_stride, const float* scales,
                           int64_t scale_stride, float* sums) {
  for (int v = 0; v < kVectors; ++v) {
    Bytes even[kParts], odd[kParts];
    MBOK_UNROLL
    for (int part = 0; part < kParts; ++part) even[part] = odd[part] = all16(kStart);
    for (int b = 0; b < 8; b += 2) {
      Bytes nibbles[4];
      MBOK_UNROLL
      for (int half = 0; half < 2; ++half) {
        const uint8_t* from = block + (b + half) * kTileRows + v * kBytes;
        __builtin_prefetch(from + kPrefetch);
        const Bytes byte = load_bytes(from);
        nibbles[2 * half] = low_nibbles(byte);
        nibbles[2 * half + 1] = high_nibbles(byte);
      }
      MBOK_UNROLL
      for (int part = 0; part < kParts; ++part) {
        const uint8_t* const table = tables + part * part_stride + b * 64;
        Bytes low = shuffle(load_table(table), nibbles[0]), high = shuffle(load_table(table + 16), nibbles[0]);
        MBOK_UNROLL
        for (int i = 1; i < 4; ++i) {
          low = add8(low, shuffle(load_table(table + 32 * i), nibbles[i]));
          high = add8(high, shuffle(load_table(table + 32 * i + 16), nibbles[i]));
        }
        even[part] = add_even(even[part], low, high);
        odd[part] = add_odd(odd[part], low, high);
      }
    }
    MBOK_UNROLL
    for (int part = 0; part < kParts; ++part) {
      add_scaled(even[part], scales[part * scale_stride], sums + v * kBytes);
      add_scaled(odd[part], scales[part * scale_stride], sums + v * kBytes + kBytes / 2);
    }
  }
}

template <int kParts>
MBOK_INLINE void look_up_tile(const BooleanLookup& p, int64_t first) {
  const int64_t count = p.outputs - first < kTileRows ? p.outputs - first : kTileRows;
  float y[kTileRows], scale[kTileRows];
  for (int64_t i = 0; i < kTileRows; ++i) {
    y[i] = p.bias != nullptr && i < count ? p.bias[first + i] : 0;
    scale[i] = 0;
  }
  for (int64_t k = 0; k < p.kernels; ++k) {
    const uint8_t* tile = p.tiles + k * p.kernel_stride + first / kTileRows * p.words * kBlockBytes;
    const uint8_t* tables = p.tables + k * p.parts * p.words * kLookupBytes;
    const float* scales = p.scales + k * p.parts * p.words;
    float sums[kTileRows];
    for (int64_t i = 0; i < kTileRows; ++i) sums[i] = 0;
    for (int64_t word = 0; word < p.words; ++word)
      add_block<kParts>(tile + word * kBlockBytes, tables + word * kLookupBytes, p.words * kLookupBytes, scales + word,
                        p.words, sums);
    for (int64_t i = 0; i < count; ++i) scale[i] = p.s_out[k * p.s_out_stride + first + i];
    for (int64_t v = 0; v < kTileRows; v += kBytes)
      for (int64_t piece = 0; piece < kBytes / 8; ++piece) {
        const int64_t at = v + 8 * group_of(piece);
        multiply_add8(scale + at, sums + v + 8 * piece, y + at);
      }
  }
  for (int64_t i = 0; i < count; ++i) p.y[first + i] = y[i];
}

template <int kParts>
MBOK_INLINE void look_up_parts(const BooleanLookup& p) {
  for (int64_t first = 0; first < p.outputs; first += kTileRows) look_up_tile<kParts>(p, first);
}

MBOK_INLINE void look_up(const BooleanLookup& p) {
  switch (p.parts) {
    case 1:
      return look_up_parts<1>(p);
    case 2:
      return look_up_parts<2>(p);
    default:
      return look_up_parts<kMaxLookupParts>(p);
  }
}
