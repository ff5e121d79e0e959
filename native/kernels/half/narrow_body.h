// Narrows kLanes elements at a time. The tail goes through a buffer, for ISAs without masked stores of narrow elements.
// Included into an anonymous namespace inside mbok::<isa>, after functions that round a Vec and store kLanes elements.

template <void (*Store)(uint16_t* to, Vec)>
MBOK_INLINE void narrow(const float* from, uint16_t* to, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Store(to + i, load(from + i));
  if (i == count) return;
  uint16_t tail[kLanes];
  Store(tail, load_n(from + i, count - i));
  for (int64_t t = 0; t < count - i; ++t) to[i + t] = tail[t];
}
