// Finds the nearest of the 2^K levels for every lane of a Vec; kernels/refit/refit.h defines the order of ties. Bodies
// include this file inside the namespaces mbok::<isa>, with kernels/refit/codes.h.

namespace {

// level: the nearest, with the sign that the search found; negatives: its code, bits set for kernels with sign −.
struct Nearest {
  Vec distance, level, negatives;
};

// Descends the tree of signs of kernels K − 1 … 0, starting from the level of the later kernels.
template <int K>
struct Search {
  static MBOK_INLINE void run(Vec level, const Vec* magnitude, Vec target, int negatives, Nearest& best) {
    Search<K - 1>::run(level + magnitude[K - 1], magnitude, target, negatives, best);
    Search<K - 1>::run(level - magnitude[K - 1], magnitude, target, negatives | 1 << (K - 1), best);
  }
};
template <>
struct Search<0> {
  static MBOK_INLINE void run(Vec level, const Vec*, Vec target, int negatives, Nearest& best) {
    const Vec distance = abs(abs(level) - target);
    const Mask nearer = distance < best.distance;
    best.distance = select(nearer, distance, best.distance);
    best.level = select(nearer, level, best.level);
    best.negatives = select(nearer, broadcast_code(negatives), best.negatives);
  }
};

// Calls emit(k, bits) with every kernel's signs, lane l in bit l (bits beyond the lanes are arbitrary). Returns the
// chosen levels.
template <int K, class Emit>
MBOK_INLINE Vec choose_levels(Vec value, const Vec* magnitude, const Emit& emit) {
  Nearest best = {broadcast(__builtin_inff()), zero(), zero()};
  Search<K - 1>::run(magnitude[K - 1], magnitude, abs(value), 0, best);
  const Mask negative = value < zero();
  const uint64_t keep = bits_of(best.level < zero()) ^ ~bits_of(negative);
  MBOK_UNROLL
  for (int k = 0; k < K; ++k) emit(k, lanes_with_bit(best.negatives, k) ^ keep);
  const Vec magnitude_of_level = abs(best.level);
  return select(negative, -magnitude_of_level, magnitude_of_level);
}

}  // namespace

// Returns function<kernels>(…), kernels in 1 … 8.
#define MBOK_FOR_KERNELS(kernels, function, ...) \
  switch (kernels) {                             \
    case 1:                                      \
      return function<1>(__VA_ARGS__);           \
    case 2:                                      \
      return function<2>(__VA_ARGS__);           \
    case 3:                                      \
      return function<3>(__VA_ARGS__);           \
    case 4:                                      \
      return function<4>(__VA_ARGS__);           \
    case 5:                                      \
      return function<5>(__VA_ARGS__);           \
    case 6:                                      \
      return function<6>(__VA_ARGS__);           \
    case 7:                                      \
      return function<7>(__VA_ARGS__);           \
    default:                                     \
      return function<8>(__VA_ARGS__);           \
  }
