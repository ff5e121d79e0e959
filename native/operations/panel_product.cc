#include "operations/panel_product.h"

#include <algorithm>

#include "kernels/dense_product/dense_product.h"
#include "runtime/memory.h"

namespace mbok {
namespace {

constexpr int64_t kChunkRows = 2048;  // of A that one panel of B serves
constexpr int64_t kPackedRows = 384;  // the same where a task packs A itself, or holds the tile for a sink
constexpr int64_t kGroupRows = 48;    // packed at a time: 3 cache lines a step, which fall into every set of L1
constexpr int64_t kTasks = 12;        // tiles wanted at least, so that small products keep several threads busy
constexpr int64_t kRowMultiple = 12;  // whole register tiles

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t tile_rows_of(int64_t m, int64_t n, int64_t limit) {
  const int64_t panels = std::max<int64_t>(1, ceil_div(n, kPanelCols));
  const int64_t wanted = ceil_div(ceil_div(m, ceil_div(kTasks, panels)), kRowMultiple) * kRowMultiple;
  return std::max(kRowMultiple, std::min(wanted, limit));
}

// Numbers of the depth in one 32-bit step.
int64_t step_size(Precision precision) { return precision == Precision::kBf16 ? 2 : 1; }

bool packs_rows(const PanelProduct& p) { return p.a_transposed; }
bool converts_rows(const PanelProduct& p) { return !p.a_transposed && p.precision == Precision::kBf16; }
int64_t chunk_rows(const PanelProduct& p) { return converts_rows(p) ? std::min(p.m, kChunkRows) : p.m; }

int64_t tile_rows(const PanelProduct& p) {
  if (p.sink != nullptr) return product_tile_grid(p.m, p.n).tile_rows;
  return tile_rows_of(chunk_rows(p), p.n, packs_rows(p) ? kPackedRows : kChunkRows);
}

// Where the parts of scratch lie: first A in bf16 (shared), then for each worker a panel of B, a block of A, a tile.
struct Layout {
  size_t converted, panel, block, tile, operand;
  size_t worker() const { return panel + block + tile + operand; }
};

Layout layout_of(const PanelProduct& p, const PanelOperand& b) {
  const size_t step_bytes = sizeof(float);
  const auto steps = static_cast<size_t>(ceil_div(p.depth, step_size(p.precision)));
  const auto rows = static_cast<size_t>(tile_rows(p));
  Layout layout = {};
  if (converts_rows(p)) layout.converted = align_up(static_cast<size_t>(chunk_rows(p)) * steps * step_bytes);
  layout.panel = kDepthBlock * kPanelCols * step_bytes;
  if (packs_rows(p)) layout.block = kDepthBlock * kGroupRows * step_bytes;
  if (p.sink != nullptr) layout.tile = rows * kPanelCols * sizeof(float);
  layout.operand = align_up(b.scratch_bytes());
  return layout;
}

struct Tools {
  DenseProductFunction* multiply;
  DensePanelFunction* pack_columns;
};

Tools tools_for(Precision precision) {
  if (precision == Precision::kBf16)
    return {dense_product_bf16_table.best(), dense_panel_columns_bf16_table.best()};
  return {dense_product_f32_table.best(), dense_panel_columns_f32_table.best()};
}

// Converts rows [begin, begin + rows) of A into `out`, some rows a task.
void convert_rows(ThreadPool& pool, const PanelProduct& p, int64_t begin, int64_t rows, uint16_t* out) {
  constexpr int64_t kRows = 32;
  Bf16ConvertFunction* const convert = bf16_convert_table.best();
  const int64_t out_stride = ceil_div(p.depth, 2) * 2;
  pool.parallel_for(ceil_div(rows, kRows), [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * kRows);
    for (int64_t row = task * kRows; row < end; ++row)
      convert(p.a + (begin + row) * p.a_stride, 1, p.depth, out + row * out_stride);
  });
}

// C (+)= A·B for one tile and one block of the depth, with B packed; `part` lacks A. Rows of a transposed A are packed
// in groups, each used while it is in L1.
void multiply_transposed(const PanelProduct& p, const Tools& tools, ProductBlock part, int64_t row, int64_t d,
                         int64_t depth, std::byte* block) {
  const int64_t rows = part.rows;
  part.a = block;
  part.a_row = 1;
  part.a_depth = kGroupRows;
  for (int64_t r = 0; r < rows; r += kGroupRows, part.c += kGroupRows * part.c_stride) {
    part.rows = std::min(kGroupRows, rows - r);
    tools.pack_columns({p.a + d * p.a_stride + row + r, p.a_stride, part.rows, depth, kGroupRows}, block);
    tools.multiply(part);
  }
}

// The tile at (row, col), rows × up to 64. `converted` holds A's rows from `origin` on in bf16, where it is converted.
void multiply_tile(const PanelProduct& p, const PanelOperand& b, const Tools& tools, const Layout& layout,
                   const std::byte* converted, int64_t origin, int64_t row, int64_t rows, int64_t col,
                   std::byte* scratch, int worker) {
  const int64_t step = step_size(p.precision), steps = ceil_div(p.depth, step), depth_block = kDepthBlock * step;
  std::byte* const panel = scratch;
  std::byte* const block = panel + layout.panel;
  float* const tile = reinterpret_cast<float*>(block + layout.block);
  std::byte* const operand_scratch = block + layout.block + layout.tile;
  ProductBlock part = {};
  part.b = panel;
  part.rows = rows;
  part.cols = std::min(kPanelCols, p.n - col);
  part.c = p.sink != nullptr ? tile : p.c + row * p.c_stride + col;
  part.c_stride = p.sink != nullptr ? kPanelCols : p.c_stride;
  part.bias = p.bias != nullptr ? p.bias + col : nullptr;
  for (int64_t d = 0; d == 0 || d < p.depth; d += depth_block) {
    const int64_t depth = std::min(depth_block, p.depth - d);
    b.pack(col, part.cols, d, depth, panel, operand_scratch);
    part.depth = ceil_div(depth, step);
    part.accumulate = d > 0 || p.accumulate;
    if (packs_rows(p)) {
      multiply_transposed(p, tools, part, row, d, depth, block);
      continue;
    }
    part.a_depth = 1;
    part.a_row = converts_rows(p) ? steps : p.a_stride;
    if (converts_rows(p))
      part.a = converted + static_cast<size_t>((row - origin) * steps + d / step) * sizeof(float);
    else
      part.a = p.a + row * p.a_stride + d;
    tools.multiply(part);
  }
  if (p.sink != nullptr) p.sink->consume({row, col, rows, part.cols, tile, kPanelCols}, worker);
}

}  // namespace

Precision usable_precision(Precision wanted) {
  constexpr uint32_t kNeeds = kAvx512 | kAvx512Bf16;
  return wanted == Precision::kBf16 && (cpu_features() & kNeeds) == kNeeds ? Precision::kBf16 : Precision::kF32;
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
  const int64_t rows = tile_rows_of(m, n, kPackedRows);
  return {rows, kPanelCols, ceil_div(m, rows), ceil_div(n, kPanelCols)};
}

size_t panel_product_scratch(const PanelProduct& p, const PanelOperand& b, int threads) {
  const Layout layout = layout_of(p, b);
  return layout.converted + layout.worker() * static_cast<size_t>(threads);
}

void panel_product(ThreadPool& pool, const PanelProduct& p, const PanelOperand& b, std::byte* scratch) {
  const Layout layout = layout_of(p, b);
  const Tools tools = tools_for(p.precision);
  const int64_t panels = ceil_div(p.n, kPanelCols), height = tile_rows(p), chunk = std::max<int64_t>(1, chunk_rows(p));
  for (int64_t origin = 0; origin < p.m; origin += chunk) {
    const int64_t rows = std::min(chunk, p.m - origin);
    if (converts_rows(p)) convert_rows(pool, p, origin, rows, reinterpret_cast<uint16_t*>(scratch));
    pool.parallel_for(panels * ceil_div(rows, height), [&](int64_t task, int worker) {
      const int64_t row = task / panels * height, col = task % panels * kPanelCols;
      multiply_tile(p, b, tools, layout, scratch, origin, origin + row, std::min(height, rows - row), col,
                    scratch + layout.converted + layout.worker() * static_cast<size_t>(worker), worker);
    });
  }
}

}  // namespace mbok
