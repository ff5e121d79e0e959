#include "operations/signal_statistics.h"

#include <cstring>

#include "kernels/signal_update/signal_update.h"
#include "operations/rows.h"

namespace mbok {
namespace {

// to[i] = Σ_p partials[p][i] / divisor
void mean_of_partials(ThreadPool& pool, const float* partials, int64_t count, int64_t size, int64_t divisor,
                      float* to) {
  std::memset(to, 0, static_cast<size_t>(size) * sizeof(float));
  add_partials(pool, partials, count, size, to);
  for (int64_t i = 0; i < size; ++i) to[i] /= static_cast<float>(divisor);
}

}  // namespace

SignalStatistics::SignalStatistics(Normalizer normalizer, int64_t m, int64_t n, SignalScales scales,
                                   const TileGrid& grid, Scratch& scratch)
    : normalizer_(normalizer), m_(m), n_(n), scales_(scales), grid_(grid) {
  if (normalizer == Normalizer::kMean) magnitudes_ = scratch.take<double>(grid.rows * grid.cols);
  if (normalizer != Normalizer::kFactored) return;
  row_partials_ = scratch.take<float>(grid.cols * m);
  column_partials_ = scratch.take<float>(grid.rows * n);
  row_squares_ = scratch.take<float>(m);
  column_squares_ = scratch.take<float>(n);
}

void SignalStatistics::consume(const Tile& tile) const {
  const int64_t down = tile.row / grid_.tile_rows, across = tile.col / grid_.tile_cols;
  const auto s_out = [&](int64_t r) { return scales_.s_out == nullptr ? 1.0f : scales_.s_out[tile.row + r]; };
  const float* const s_in = scales_.s_in == nullptr ? nullptr : scales_.s_in + tile.col;
  if (normalizer_ == Normalizer::kMean) {
    SignalMagnitudeFunction* const magnitude = signal_magnitude_table.best();
    double sum = 0;
    for (int64_t r = 0; r < tile.rows; ++r) sum += magnitude(tile.data + r * tile.stride, s_out(r), s_in, tile.cols);
    magnitudes_[down * grid_.cols + across] = sum;
  }
  if (normalizer_ == Normalizer::kFactored) {
    SignalSquaresFunction* const squares = signal_squares_table.best();
    float* const rows = row_partials_ + across * m_ + tile.row;
    float* const columns = column_partials_ + down * n_ + tile.col;
    std::memset(columns, 0, static_cast<size_t>(tile.cols) * sizeof(float));
    for (int64_t r = 0; r < tile.rows; ++r)
      rows[r] = squares(tile.data + r * tile.stride, s_out(r), s_in, columns, tile.cols);
  }
}

void SignalStatistics::finish(ThreadPool& pool) {
  if (normalizer_ == Normalizer::kMean) {
    magnitude_ = 0;
    for (int64_t t = 0; t < grid_.rows * grid_.cols; ++t) magnitude_ += magnitudes_[t];
    magnitude_ /= static_cast<double>(m_) * static_cast<double>(n_);
  }
  if (normalizer_ == Normalizer::kFactored) {
    mean_of_partials(pool, row_partials_, grid_.cols, m_, n_, row_squares_);
    mean_of_partials(pool, column_partials_, grid_.rows, n_, m_, column_squares_);
  }
}

}  // namespace mbok
