// Included into an anonymous namespace inside mbok::<isa>, after the sources of narrow_<isa>.h.

template <class Source>
MBOK_INLINE void widen(const uint16_t* from, float* to, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, Source::load(from + i));
  if (i < count) store_n(to + i, Source::load_n(from + i, count - i), count - i);
}
