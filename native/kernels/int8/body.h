// Widening in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

void int8_widen(const int8_t* from, float scale, float* to, int64_t count) {
  const Vec factor = broadcast(scale);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) store(to + j, I8::load(from + j) * factor);
  if (j < count) store_n(to + j, I8::load_n(from + j, count - j) * factor, count - j);
}
