#include "operations/panel_product.h"

#include <algorithm>

#include "kernels/dense_product/dense_product.h"
#include "runtime/memory.h"

namespace mbok {
namespace {

// C in memory. How its rows are cut changes no sum, so it may depend on the threads.
constexpr int64_t kChunkRows = 2048;    // of A that one panel of B serves, for every four threads
constexpr int64_t kTasksPerThread = 3;  // tiles wanted at least, so that small products keep all threads busy
constexpr int64_t kTasks = 12;          // and never fewer

// Tiles for a sink, which sees how C is cut: by the shape alone.
constexpr int64_t kSinkRows = 384;  // at most: the tile waits in scratch
constexpr int64_t kSinkTasks = 48;  // wanted at least

constexpr int64_t kRowMultiple = 48;  // whole register tiles: of 6 rows, of 32 and 16 on AMX

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t tile_rows_of(int64_t m, int64_t n, int64_t tasks, int64_t limit) {
  const int64_t panels = std::max<int64_t>(1, ceil_div(n, kPanelCols));
  const int64_t wanted = ceil_div(ceil_div(m, ceil_div(tasks, panels)), kRowMultiple) * kRowMultiple;
  return std::max(kRowMultiple, std::min(wanted, limit));
}

int64_t sink_rows(int64_t m, int64_t n) { return tile_rows_of(m, n, kSinkTasks, kSinkRows); }

// Numbers of the depth in one 32-bit step.
int64_t step_size(Precision precision) {
  return precision == Precision::kInt8 ? 4 : precision == Precision::kBf16 ? 2 : 1;
}

// Of the depth that is multiplied at once.
int64_t block_steps(Precision precision) { return precision == Precision::kInt8 ? kInt8Steps : kDepthBlock; }

// A in f32 is read where it is, whichever way it lies: measured, packing it never paid. In bf16 and int8 a chunk of it is
// converted first: rows as rows, a transposed A as [steps, m].
bool converts(const PanelProduct& p) { return p.precision != Precision::kF32; }

// That `depth` numbers take.
int64_t steps_of(Precision precision, int64_t depth) {
  const int64_t whole = precision == Precision::kInt8 ? ceil_div(depth, kRotated) * kRotated : depth;
  return ceil_div(whole, step_size(precision));
}

// Of a converted row of `depth` numbers.
int64_t row_steps(Precision precision, int64_t depth) {
  if (precision == Precision::kInt8) return ceil_div(depth, 4 * kInt8Steps) * kInt8RowSteps;
  return steps_of(precision, depth);
}

int64_t chunk_rows(const PanelProduct& p, int threads) {
  return converts(p) && !p.a_transposed ? std::min(p.m, kChunkRows * ceil_div(threads, 4)) : p.m;
}

int64_t tile_rows(const PanelProduct& p, int threads) {
  if (p.sink != nullptr) return sink_rows(p.m, p.n);
  const int64_t rows = chunk_rows(p, threads);
  return tile_rows_of(rows, p.n, std::max(kTasks, kTasksPerThread * threads), std::min(rows, kChunkRows));
}

// Where the parts of scratch lie: first A converted (shared), then for each worker a panel of B, a tile, the operand's.
struct Layout {
  size_t converted, panel, tile, operand;
  size_t worker() const { return panel + tile + operand; }
};

Layout layout_of(const PanelProduct& p, const PanelOperand& b, int threads) {
  const size_t step_bytes = sizeof(float);
  const auto steps = static_cast<size_t>(row_steps(p.precision, p.depth));
  Layout layout = {};
  if (converts(p)) layout.converted = align_up(static_cast<size_t>(chunk_rows(p, threads)) * steps * step_bytes);
  layout.panel = kDepthBlock * kPanelCols * step_bytes;
  if (p.sink != nullptr) layout.tile = static_cast<size_t>(sink_rows(p.m, p.n)) * kPanelCols * sizeof(float);
  layout.operand = align_up(b.scratch_bytes());
  return layout;
}

// Converts rows [begin, begin + rows) of A, or the whole of a transposed one; some of its rows in memory a task.
void convert(ThreadPool& pool, const PanelProduct& p, int64_t begin, int64_t rows, std::byte* out) {
  constexpr int64_t kRows = 32;
  const int64_t steps = row_steps(p.precision, p.depth), step_bytes = sizeof(float);
  if (p.a_transposed) {
    DensePanelFunction* const pack = dense_panel_columns_bf16_table.best();
    return pool.parallel_for(ceil_div(p.depth, kRows), [&](int64_t task, int) {
      const int64_t d = task * kRows;
      pack({p.a + d * p.a_stride, p.a_stride, p.m, std::min(kRows, p.depth - d), p.m}, out + d / 2 * p.m * step_bytes);
    });
  }
  Bf16ConvertFunction* const to_bf16 = bf16_convert_table.best();
  Int8RowFunction* const to_int8 = int8_row_table.best();
  pool.parallel_for(ceil_div(rows, kRows), [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * kRows);
    for (int64_t row = task * kRows; row < end; ++row) {
      const float* const from = p.a + (begin + row) * p.a_stride;
      std::byte* const to = out + row * steps * step_bytes;
      if (p.precision == Precision::kInt8)
        to_int8(from, p.depth, to);
      else
        to_bf16(from, 1, p.depth, reinterpret_cast<uint16_t*>(to));
    }
  });
}

// A from (row, depth d) on, `row` counted in the chunk that starts at `origin`.
void place_rows(const PanelProduct& p, const std::byte* converted, int64_t origin, int64_t row, int64_t d,
                ProductBlock& part) {
  const int64_t stride = !converts(p) ? p.a_stride : p.a_transposed ? p.m : row_steps(p.precision, p.depth);
  part.a_row = p.a_transposed ? 1 : stride;
  part.a_depth = p.a_transposed ? stride : 1;
  const int64_t offset = row * part.a_row + row_steps(p.precision, d) * part.a_depth;
  if (converts(p))
    part.a = converted + offset * static_cast<int64_t>(sizeof(float));
  else
    part.a = p.a + origin * part.a_row + offset;
}

DenseProductFunction* product_function(Precision precision) {
  if (precision == Precision::kInt8) return dense_product_i8_table.best();
  return (precision == Precision::kBf16 ? dense_product_bf16_table : dense_product_f32_table).best();
}

// The tile at (row, col), rows × up to 64, of the chunk that starts at `origin`.
void multiply_tile(const PanelProduct& p, const PanelOperand& b, DenseProductFunction* multiply, const Layout& layout,
                   const std::byte* converted, int64_t origin, int64_t row, int64_t rows, int64_t col,
                   std::byte* scratch, int worker) {
  const int64_t depth_block = block_steps(p.precision) * step_size(p.precision);
  std::byte* const panel = scratch;
  float* const tile = reinterpret_cast<float*>(panel + layout.panel);
  std::byte* const operand_scratch = panel + layout.panel + layout.tile;
  ProductBlock part = {};
  part.rows = rows;
  part.cols = std::min(kPanelCols, p.n - col);
  part.c = p.sink != nullptr ? tile : p.c + (origin + row) * p.c_stride + col;
  part.c_stride = p.sink != nullptr ? kPanelCols : p.c_stride;
  part.bias = p.bias != nullptr ? p.bias + col : nullptr;
  for (int64_t d = 0; d == 0 || d < p.depth; d += depth_block) {
    const int64_t depth = std::min(depth_block, p.depth - d);
    const std::byte* const packed = b.packed(col, d);
    if (packed == nullptr) b.pack(col, part.cols, d, depth, panel, operand_scratch);
    part.b = packed != nullptr ? packed : panel;
    place_rows(p, converted, origin, row, d, part);
    part.depth = steps_of(p.precision, depth);
    part.accumulate = d > 0 || p.accumulate;
    multiply(part);
  }
  if (p.sink != nullptr) p.sink->consume({origin + row, col, rows, part.cols, tile, kPanelCols}, worker);
}

}  // namespace

Precision usable_precision(Precision wanted) {
  const auto has = [](uint32_t features) { return (cpu_features() & features) == features; };
  if (wanted == Precision::kInt8 && has(kAvx512 | kAvx512Vnni) && !has(kAmxBf16)) return Precision::kInt8;
  return wanted != Precision::kF32 && has(kAvx512 | kAvx512Bf16) ? Precision::kBf16 : Precision::kF32;
}

DenseOperand::DenseOperand(const float* data, int64_t stride, bool transposed, Precision precision)
    : data_(data), stride_(stride), transposed_(transposed) {
  const bool bf16 = precision == Precision::kBf16;
  if (transposed)
    pack_ = (bf16 ? dense_panel_columns_bf16_table : dense_panel_columns_f32_table).best();
  else
    pack_ = (bf16 ? dense_panel_rows_bf16_table : dense_panel_rows_f32_table).best();
}

void DenseOperand::pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
                        std::byte*) const {
  const float* source = transposed_ ? data_ + depth_begin * stride_ + col : data_ + col * stride_ + depth_begin;
  pack_({source, stride_, cols, depth, kPanelCols}, panel);
}

TileGrid product_tile_grid(int64_t m, int64_t n) {
  const int64_t rows = sink_rows(m, n);
  return {rows, kPanelCols, ceil_div(m, rows), ceil_div(n, kPanelCols)};
}

size_t panel_product_scratch(const PanelProduct& p, const PanelOperand& b, int threads) {
  const Layout layout = layout_of(p, b, threads);
  return layout.converted + layout.worker() * static_cast<size_t>(threads);
}

void panel_product(ThreadPool& pool, const PanelProduct& p, const PanelOperand& b, std::byte* scratch) {
  const Layout layout = layout_of(p, b, pool.threads());
  DenseProductFunction* const multiply = product_function(p.precision);
  const int64_t panels = ceil_div(p.n, kPanelCols), height = tile_rows(p, pool.threads());
  const int64_t chunk = std::max<int64_t>(1, chunk_rows(p, pool.threads()));
  for (int64_t origin = 0; origin < p.m; origin += chunk) {
    const int64_t rows = std::min(chunk, p.m - origin);
    if (converts(p)) convert(pool, p, origin, rows, scratch);
    pool.parallel_for(panels * ceil_div(rows, height), [&](int64_t task, int worker) {
      const int64_t row = task / panels * height, col = task % panels * kPanelCols;
      multiply_tile(p, b, multiply, layout, scratch, origin, row, std::min(height, rows - row), col,
                    scratch + layout.converted + layout.worker() * static_cast<size_t>(worker), worker);
    });
  }
}

}  // namespace mbok
