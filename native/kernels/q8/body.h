// Rows of q8 in terms of Vec; included into an anonymous namespace inside mbok::<isa> after the sources of narrow_<isa>.h.

// The weights of a row in the order of its columns. The scales of the blocks that are next wait in f32 where a load
// gives one to every lane of a vector.
class Q8Weights {
 public:
  // Of `blocks` blocks, whose scales are prefetched `ahead` bytes before they are read.
  MBOK_INLINE void start(const uint16_t* scales, const int8_t* numbers, int64_t blocks, int64_t ahead) {
    scales_ = scales;
    numbers_ = numbers;
    blocks_ = blocks;
    ahead_ = ahead;
  }

  // Call before reading from column d on. Calls go upwards from d = 0 and include every multiple of 1024.
  MBOK_INLINE void prepare(int64_t d) {
    if ((d & (kHeld * kQ8Block - 1)) == 0) hold(d / kQ8Block);
  }

  MBOK_INLINE const int8_t* numbers() const { return numbers_; }

  // Columns d … d + kLanes − 1.
  MBOK_INLINE Vec load(int64_t d) const {
    return I8::load(numbers_ + d) * scale(d);
  }
  // The first n of them; the other lanes are 0.
  MBOK_INLINE Vec load_n(int64_t d, int64_t n) const {
    return I8::load_n(numbers_ + d, n) * scale(d);
  }

 private:
  // in unsigned arithmetic, whose divisions are shifts
  MBOK_INLINE Vec scale(int64_t d) const {
    return broadcast(held_[static_cast<uint64_t>(d) / kQ8Block % kHeld]);
  }

  MBOK_INLINE void hold(int64_t first) {
    __builtin_prefetch(reinterpret_cast<const char*>(scales_ + first) + ahead_);
    const int64_t count = blocks_ - first < kHeld ? blocks_ - first : kHeld;
    for (int64_t b = 0; b < count; b += kLanes)
      store(held_ + b, F16::load_n(scales_ + first + b, count - b < kLanes ? count - b : kLanes));
  }

  static constexpr int64_t kHeld = 32;  // a cache line of them in f16
  const uint16_t* scales_;
  const int8_t* numbers_;
  int64_t blocks_, ahead_;
  alignas(64) float held_[kHeld];
};
