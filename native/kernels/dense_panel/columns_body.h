// The copy of columns over Vec: rows are short, so a call of memcpy would cost as much as the copy. Included into an
// anonymous namespace inside mbok::<isa>.

MBOK_INLINE void copy_columns(const PanelSource& s, float* out) {
  for (int64_t d = 0; d < s.depth; ++d, out += s.width) {
    const float* row = s.source + d * s.stride;
    int64_t item = 0;
    for (; item + kLanes <= s.items; item += kLanes) store(out + item, load(row + item));
    for (; item < s.width; item += kLanes) {
      const int64_t left = s.width - item < kLanes ? s.width - item : kLanes;
      const int64_t valid = s.items - item < 0 ? 0 : s.items - item < kLanes ? s.items - item : kLanes;
      store_n(out + item, load_n(row + item, valid), left);
    }
  }
}
