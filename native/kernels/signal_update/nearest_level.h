// The search of neighbor moves for one element. Included inside the anonymous namespace of every candidate, so it has
// no include guard.

struct NearestLevel {
  float half_gap;  // infinite if there is no level in that direction
  int set;         // of bits to flip; 0: none
};

// Returns the least Σ_D uₖ above kLeastHalfGap, and D. Sums run from the highest bit to the lowest, with bits from 4 on
// and the four low bits summed separately: the order of the vector code.
NearestLevel nearest_level(const float* u, int kernels) {
  float sums[1 << kMaxMoveKernels];
  NearestLevel nearest = {__builtin_inff(), 0};
  sums[0] = 0;
  for (int set = 1; set < 1 << kernels; ++set) {
    const int low = set & 15;
    sums[set] = low != 0 && low != set ? sums[set - low] + sums[low]
                                       : sums[set & (set - 1)] + u[__builtin_ctz(static_cast<unsigned>(set))];
    if (sums[set] > kLeastHalfGap && sums[set] < nearest.half_gap) nearest = {sums[set], set};
  }
  return nearest;
}
