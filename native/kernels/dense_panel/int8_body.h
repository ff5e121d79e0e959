// Rounds a row to 8-bit blocks, over Vec. Included into an anonymous namespace inside mbok::<isa>, after
// round_block_body.h, rotate_lanes() (rotates the lanes of a Vec) and store_bytes() (stores kLanes integers as int8).

MBOK_INLINE void round_row(const float* x, int64_t cols, char* block) {
  constexpr int64_t kNumbers = 4 * kInt8Steps;
  constexpr int kVectors = kNumbers / kLanes, kFar = kRotated / kLanes;
  constexpr float kLargest = 127;
  for (int64_t first = 0; first < cols; first += kNumbers, block += 4 * kInt8RowSteps) {
    Vec r[kVectors];
    MBOK_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      const int64_t left = cols - first - kLanes * j;
      r[j] = rotate_lanes(load_n(x + first + kLanes * j, left < 0 ? 0 : left < kLanes ? left : kLanes));
    }
    MBOK_UNROLL
    for (int apart = 1; apart < kFar; apart *= 2) {
      MBOK_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        if (j & apart) continue;
        const Vec a = r[j], b = r[j + apart];
        r[j] = a + b;
        r[j + apart] = a - b;
      }
    }
    const BlockScale scale = block_scale(r, kLargest);
    Vec sum = zero();  // exact: 256 integers of 7 bits and sign
    for (int j = 0; j < kVectors; ++j) {
      const Vec whole = rounded(r[j], scale, kLargest);
      sum = sum + whole;
      store_bytes(block + kLanes * j, whole);
    }
    const float product_scale = scale.scale / kRotated;
    const int32_t start = -128 * static_cast<int32_t>(reduce_add(sum));
    __builtin_memcpy(block + kNumbers, &product_scale, sizeof product_scale);
    __builtin_memcpy(block + kNumbers + 4, &start, sizeof start);
  }
}
