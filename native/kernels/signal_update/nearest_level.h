// Included inside the anonymous namespace of every candidate (so no include guard): the search that neighbor moves
// specify, for one element.

struct NearestLevel {
  float half_gap;  // infinite where there is no level in that direction
  int set;         // of bits to flip; 0 for none
};

// The least Σ_D uₖ above kLeastHalfGap, and D. Sums run from the highest bit to the lowest, those of the bits from 4 on
// and of the four low bits apart: the order in which the vector code forms them.
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
