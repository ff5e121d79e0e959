// Statistics of the Boolean signal Q for its normalizers, gathered tile by tile: the mean of |Q|, or the row and column
// means of Q². Every tile writes partial sums, which are added in the order of the grid.
#pragma once

#include "operations/product.h"
#include "operations/scratch.h"

namespace mbok {

enum class Normalizer : int32_t { kNone = 0, kMean = 1, kFactored = 2 };

// Q = G ⊙ (s_out s_inᵀ); both null if the tiles contain Q itself.
struct SignalScales {
  const float* s_out;  // [m]
  const float* s_in;   // [n]
};

class SignalStatistics {
 public:
  SignalStatistics(Normalizer normalizer, int64_t m, int64_t n, SignalScales scales, const TileGrid& grid,
                   Scratch& scratch);
  void consume(const Tile& tile) const;
  // Computes the means below, after every tile has been consumed.
  void finish(ThreadPool& pool);

  double magnitude() const { return magnitude_; }                  // mean of |Q|
  const float* row_squares() const { return row_squares_; }        // [m]: meanⱼ Qᵢⱼ²
  const float* column_squares() const { return column_squares_; }  // [n]: meanᵢ Qᵢⱼ²

 private:
  Normalizer normalizer_;
  int64_t m_, n_;
  SignalScales scales_;
  TileGrid grid_;
  double* magnitudes_ = nullptr;      // [tiles]
  float* row_partials_ = nullptr;     // [tiles across, m]
  float* column_partials_ = nullptr;  // [tiles down, n]
  double magnitude_ = 0;
  float* row_squares_ = nullptr;
  float* column_squares_ = nullptr;
};

}  // namespace mbok
