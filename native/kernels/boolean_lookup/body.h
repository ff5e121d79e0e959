// The look-up kernel over Bytes, kBytes of them in lanes of 16. Included into an anonymous namespace inside
// mbok::<isa>, after the operations on Bytes. The functions add_even() and add_odd() take every other group of eight
// bytes and add low + high · 2^kLowBits to eight sums of 16 bits.

constexpr int kVectors = kTileRows / kBytes;

// Order of the sums, in groups of eight: the even groups of a vector of bytes, then the odd ones.
MBOK_INLINE int64_t group_of(int64_t piece) {
  constexpr int64_t kHalf = kBytes / 16;
  return piece < kHalf ? 2 * piece : 2 * (piece - kHalf) + 1;
}

// Start of a block's sums: minus the sixteen biases that the tables add.
constexpr int16_t kStart = static_cast<int16_t>(-(16 * kHighBias) * (1 << kLowBits));

// sums += the products of a block of 64 inputs with the outputs of kTiles tiles, which lie `tile_stride` bytes apart,
// in the order of group_of(). Prefetches the block `ahead` bytes later.
template <int kParts, int kTiles>
MBOK_INLINE void add_block(const uint8_t* block, int64_t tile_stride, int64_t ahead, const uint8_t* tables,
                           int64_t part_stride, const float* scales, int64_t scale_stride, float* sums) {
  for (int v = 0; v < kVectors; ++v) {
    Bytes even[kTiles][kParts], odd[kTiles][kParts];
    MBOK_UNROLL
    for (int t = 0; t < kTiles; ++t) {
      MBOK_UNROLL
      for (int part = 0; part < kParts; ++part) even[t][part] = odd[t][part] = all16(kStart);
    }
    MBOK_UNROLL
    for (int b = 0; b < 8; b += 2) {
      MBOK_UNROLL
      for (int t = 0; t < kTiles; ++t) {
        Bytes nibbles[4];
        MBOK_UNROLL
        for (int half = 0; half < 2; ++half) {
          const uint8_t* from = block + t * tile_stride + (b + half) * kTileRows + v * kBytes;
          __builtin_prefetch(from + ahead);
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
          even[t][part] = add_even(even[t][part], low, high);
          odd[t][part] = add_odd(odd[t][part], low, high);
        }
      }
    }
    MBOK_UNROLL
    for (int t = 0; t < kTiles; ++t) {
      float* const to = sums + t * kTileRows + v * kBytes;
      MBOK_UNROLL
      for (int part = 0; part < kParts; ++part) {
        add_scaled(even[t][part], scales[part * scale_stride], to);
        add_scaled(odd[t][part], scales[part * scale_stride], to + kBytes / 2);
      }
    }
  }
}

template <int kParts, int kTiles, int64_t kPrefetch>
MBOK_INLINE void look_up_tiles(const BooleanLookup& p, int64_t first) {
  constexpr int64_t kOutputs = kTiles * kTileRows;
  const int64_t count = p.outputs - first < kOutputs ? p.outputs - first : kOutputs;
  float y[kOutputs], scale[kOutputs];
  for (int64_t i = 0; i < kOutputs; ++i) {
    y[i] = p.bias != nullptr && i < count ? p.bias[first + i] : 0;
    scale[i] = 0;
  }
  const int64_t tile_stride = p.words * kBlockBytes;
  const int64_t to_kernel = p.kernel_stride - tile_stride;
  const int64_t to_tiles = (kTiles - 1) * tile_stride - (p.kernels - 1) * p.kernel_stride;
  for (int64_t k = 0; k < p.kernels; ++k) {
    const uint8_t* tile = p.tiles + k * p.kernel_stride + first / kTileRows * tile_stride;
    const uint8_t* tables = p.tables + k * p.parts * p.words * kLookupBytes;
    const float* scales = p.scales + k * p.parts * p.words;
    float sums[kOutputs];
    for (int64_t i = 0; i < kOutputs; ++i) sums[i] = 0;
    // distance to what is read after the last block of these tiles
    const int64_t jump = k + 1 < p.kernels ? to_kernel : to_tiles;
    for (int64_t word = 0; word < p.words; ++word)
      add_block<kParts, kTiles>(tile + word * kBlockBytes, tile_stride,
                                kPrefetch + (word + kPrefetch / kBlockBytes < p.words ? 0 : jump),
                                tables + word * kLookupBytes, p.words * kLookupBytes, scales + word, p.words, sums);
    for (int64_t i = 0; i < count; ++i) scale[i] = p.s_out[k * p.s_out_stride + first + i];
    for (int64_t v = 0; v < kOutputs; v += kBytes)
      for (int64_t piece = 0; piece < kBytes / 8; ++piece) {
        const int64_t at = v + 8 * group_of(piece);
        multiply_add8(scale + at, sums + v + 8 * piece, y + at);
      }
  }
  for (int64_t i = 0; i < count; ++i) p.y[first + i] = y[i];
}

template <int kParts, int kTiles, int64_t kPrefetch>
MBOK_INLINE void look_up_parts(const BooleanLookup& p) {
  constexpr int64_t kOutputs = kTiles * kTileRows;
  int64_t first = 0;
  for (; p.outputs - first > kOutputs - kTileRows; first += kOutputs)
    look_up_tiles<kParts, kTiles, kPrefetch>(p, first);
  for (; first < p.outputs; first += kTileRows) look_up_tiles<kParts, 1, kPrefetch>(p, first);
}

// Processes kTiles tiles at a time and prefetches kPrefetch bytes ahead.
template <int kTiles, int64_t kPrefetch>
MBOK_INLINE void look_up(const BooleanLookup& p) {
  switch (p.parts) {
    case 1:
      return look_up_parts<1, kTiles, kPrefetch>(p);
    case 2:
      return look_up_parts<2, kTiles, kPrefetch>(p);
    default:
      return look_up_parts<kMaxLookupParts, kTiles, kPrefetch>(p);
  }
}
