// Rows of q8 in terms of Vec. Included into an anonymous namespace inside mbok::<isa> after the sources of
// narrow_<isa>.h.

// Reads the weights of a row in the order of its columns. The scales of the next kHeld blocks are buffered in f32, from
// where one load broadcasts a scale to a vector.
class Q8Weights {
 public:
  // Starts at the first of `blocks` blocks; prefetches scales `ahead` bytes before they are read.
  MBOK_INLINE void start(const uint16_t* scales, const int8_t* numbers, int64_t blocks, int64_t ahead) {
    scales_ = scales;
    numbers_ = numbers;
    blocks_ = blocks;
    ahead_ = ahead;
  }

  // Must be called before reading from column d on. d rises from 0 and takes every multiple of 1024.
  MBOK_INLINE void prepare(int64_t d) {
    if ((d & (kHeld * kQ8Block - 1)) == 0) hold(d / kQ8Block);
  }

  MBOK_INLINE const int8_t* numbers() const { return numbers_; }

  // Returns columns d … d + kLanes − 1.
  MBOK_INLINE Vec load(int64_t d) const { return I8::load(numbers_ + d) * scale(d); }
  // Returns the first n of them; the other lanes are 0.
  MBOK_INLINE Vec load_n(int64_t d, int64_t n) const { return I8::load_n(numbers_ + d, n) * scale(d); }

 private:
  // Unsigned arithmetic turns the divisions into shifts.
  MBOK_INLINE Vec scale(int64_t d) const { return broadcast(held_[static_cast<uint64_t>(d) / kQ8Block % kHeld]); }

  MBOK_INLINE void hold(int64_t first) {
    __builtin_prefetch(reinterpret_cast<const char*>(scales_ + first) + ahead_);
    const int64_t count = blocks_ - first < kHeld ? blocks_ - first : kHeld;
    for (int64_t b = 0; b < count; b += kLanes)
      store(held_ + b, F16::load_n(scales_ + first + b, count - b < kLanes ? count - b : kLanes));
  }

  static constexpr int64_t kHeld = 32;  // one cache line of f16 scales
  const uint16_t* scales_;
  const int8_t* numbers_;
  int64_t blocks_, ahead_;
  alignas(64) float held_[kHeld];
};
