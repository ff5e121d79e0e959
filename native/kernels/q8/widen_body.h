// Included inside mbok::<isa> after body.h.

void q8_widen(const Q8Row& row, int64_t block, float* to, int64_t count) {
  Q8Weights weights;
  weights.start(row.scales + block, row.numbers + block * kQ8Block, (count + kQ8Block - 1) / kQ8Block, 0);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    weights.prepare(j);
    store(to + j, weights.load(j));
  }
  if (j == count) return;
  weights.prepare(j);
  store_n(to + j, weights.load_n(j, count - j), count - j);
}
