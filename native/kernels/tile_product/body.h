// The tile product in terms of Wide. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

void subtract_tile_product(const double* a, const double* b, double* c) {
  constexpr int64_t kRows = kWideLanes;  // 8 or 4 rows by two registers fill the register file
  for (int64_t i = 0; i < kTile; i += kRows)
    for (int64_t j = 0; j < kTile; j += 2 * kWideLanes) {
      Wide left[kRows], right[kRows];
      MBOK_UNROLL
      for (int64_t r = 0; r < kRows; ++r) {
        left[r] = load_wide(c + (i + r) * kTile + j);
        right[r] = load_wide(c + (i + r) * kTile + j + kWideLanes);
      }
      for (int64_t d = 0; d < kTile; ++d) {
        const Wide b0 = load_wide(b + d * kTile + j), b1 = load_wide(b + d * kTile + j + kWideLanes);
        MBOK_UNROLL
        for (int64_t r = 0; r < kRows; ++r) {
          const Wide own = broadcast_wide(a[(i + r) * kTile + d]);
          left[r] = fnma(own, b0, left[r]);
          right[r] = fnma(own, b1, right[r]);
        }
      }
      MBOK_UNROLL
      for (int64_t r = 0; r < kRows; ++r) {
        store_wide(c + (i + r) * kTile + j, left[r]);
        store_wide(c + (i + r) * kTile + j + kWideLanes, right[r]);
      }
    }
}

void widen_tile(const float* a, double* out) {
  for (int64_t i = 0; i < kTileSize; i += kWideLanes) store_wide(out + i, widen(a + i));
}
