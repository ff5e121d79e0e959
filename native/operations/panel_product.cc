#include "operations/panel_product.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "operations/stream.h"
#include "runtime/memory.h"

namespace mbok {
namespace {

// Limits for C in memory. The cut does not affect any sum, so it may depend on the threads.
constexpr int64_t kChunkRows = 2048;    // rows of A per packing of B, for every four threads
constexpr int64_t kTasksPerThread = 3;  // minimal tiles per thread, so that small products use all threads
constexpr int64_t kTasks = 12;          // and in total

// Maximal rows and panels of a task on a matrix unit. The unit makes over a hundred products in the time in which the
// last-level cache delivers one number to a core. So each number must be used for hundreds of products. The tile (512
// KB) stays in L2 for the whole depth, with a block of the panels' depth, or two while the next is rebuilt (320 KB).
constexpr int64_t kMatrixRows = 512, kMatrixPanels = 4;
static_assert(kMostSinkPanels == kMatrixPanels, "a task has whole tiles for a sink");
constexpr int64_t kMatrixTasksPerThread = 4;
constexpr int64_t kMatrixTile = 32;                // rows of register tiles
constexpr int64_t kMatrixDepth = kDepthBlock / 2;  // of one of several blocks: 32 rows of A, 20 KB, stay in L1
// A very deep product is computed in parts of its depth, so that a part of A and all of B's panels stay in cache. One
// is the gradient of a head's hidden states, whose depth is the vocabulary.
constexpr int64_t kDeepBlocks = 48, kDeepPart = 12;

constexpr int64_t kStreamedBytes = 16 << 20;  // of C, which would leave the caches before it is read

// Limits of tiles for a sink, which sees how C is cut: by the shape alone.
constexpr int64_t kSinkRows = 384;  // maximum; the tile is in scratch
constexpr int64_t kSinkTasks = 48;  // minimum

constexpr int64_t kRowMultiple = 48;       // whole register tiles: of 6 rows, of 32 and 16 on AMX
constexpr int64_t kPackedBytes = 1 << 20;  // of B packed at once, per thread: stays in its cache
constexpr int64_t kMatrixPackedBytes = 8 << 20, kMostPackedBytes = 32 << 20;  // for a matrix unit: in the last cache

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t unit) { return ceil_div(a, unit) * unit; }

// Returns the size of equal parts of `count`, each at most `most`.
int64_t equal_parts(int64_t count, int64_t most) {
  most = std::max<int64_t>(1, most);
  return std::max<int64_t>(1, ceil_div(count, std::max<int64_t>(1, ceil_div(count, most))));
}

int64_t tile_rows_of(int64_t m, int64_t across, int64_t tasks, int64_t limit) {
  const int64_t wanted = round_up(ceil_div(m, ceil_div(tasks, std::max<int64_t>(1, across))), kRowMultiple);
  return std::max(kRowMultiple, std::min(wanted, limit));
}

// Returns the rows of a sink's tile that is `panels` wide; a wider tile has no more numbers.
int64_t sink_rows(int64_t m, int64_t n, int64_t panels) {
  return tile_rows_of(m, ceil_div(n, panels * kPanelCols), kSinkTasks, kSinkRows / panels);
}

// The rows and panels that one task multiplies.
struct Cut {
  int64_t rows, panels;
};

// The cut on a matrix unit: nearly square, as large as leaves work for every thread, in multiples of `unit`.
Cut matrix_cut(int64_t m, int64_t panels, Cut unit, int64_t tasks) {
  const auto halved = [](int64_t value, int64_t multiple) { return round_up(ceil_div(value, 2), multiple); };
  Cut cut = {std::max(unit.rows, kMatrixRows / unit.rows * unit.rows), std::min(panels, kMatrixPanels)};
  while (ceil_div(m, cut.rows) * ceil_div(panels, cut.panels) < tasks) {
    if (cut.rows > cut.panels * kPanelCols && halved(cut.rows, unit.rows) < cut.rows)
      cut.rows = halved(cut.rows, unit.rows);
    else if (cut.panels > unit.panels)
      cut.panels = halved(cut.panels, unit.panels);
    else if (halved(cut.rows, unit.rows) < cut.rows)
      cut.rows = halved(cut.rows, unit.rows);
    else
      break;
  }
  return {round_up(equal_parts(m, cut.rows), unit.rows), round_up(equal_parts(panels, cut.panels), unit.panels)};
}

// Numbers of the depth per 32-bit step.
int64_t step_size(Precision precision) {
  return precision == Precision::kInt8 ? 4 : precision == Precision::kBf16 ? 2 : 1;
}

bool matrix_unit(Precision precision) { return precision == Precision::kBf16 && (cpu_features() & kAmxBf16) != 0; }

// The cut of the depth: blocks of equal size except the last, so that no short block remains.
struct Depth {
  explicit Depth(const PanelProduct& p) : numbers(p.depth) {
    const int64_t step = step_size(p.precision);
    if (p.precision == Precision::kInt8) {
      block = kInt8Steps * step;
      panel_steps = kInt8Steps + 1;
    } else {
      const bool halves = matrix_unit(p.precision) && numbers > kDepthBlock * step;
      block = round_up(equal_parts(numbers, (halves ? kMatrixDepth : kDepthBlock) * step), kUnit);
      panel_steps = block / step;
    }
    blocks = std::max<int64_t>(1, ceil_div(numbers, block));
    const bool deep = blocks >= kDeepBlocks && p.sink == nullptr && p.precision != Precision::kInt8;
    at_once = deep ? kDeepPart : blocks;
  }
  int64_t numbers_of(int64_t index) const { return std::min(block, numbers - index * block); }
  bool whole() const { return at_once == blocks; }

  static constexpr int64_t kUnit = 64;  // a word of bits
  int64_t numbers, blocks;
  int64_t at_once;      // blocks multiplied before the next are started
  int64_t block;        // in numbers
  int64_t panel_steps;  // steps of a packed block of B, each of 64 columns
};

// Returns whether A is converted first, in chunks: in bf16 and int8. f32 is read in place in either order, because
// packing it was never faster.
bool converts(const PanelProduct& p) { return p.precision != Precision::kF32; }

int64_t chunk_rows(const PanelProduct& p, int threads) {
  return converts(p) && !p.a_transposed ? std::min(p.m, kChunkRows * ceil_div(threads, 4)) : p.m;
}

// A part of the depth: blocks [begin, end).
struct DepthPart {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

// The layout of a converted part of A, in steps: element (row, block of the part) at row · `row` + block · `block`. In
// bf16 blocks follow one another and rows are an odd number of cache lines apart. A matrix unit's tile load takes a
// line of many rows at once, which would share a few cache sets at the matrix' stride.
struct Converted {
  Converted(const PanelProduct& p, const Depth& depth, int threads) {
    if (!converts(p)) return;
    constexpr int64_t kLine = 16;
    if (p.precision == Precision::kInt8) {
      block = kInt8RowSteps;
      row = depth.blocks * block;
    } else {
      row = (ceil_div(depth.panel_steps, kLine) | 1) * kLine;
      block = chunk_rows(p, threads) * row;
    }
    steps = chunk_rows(p, threads) * depth.at_once * (p.precision == Precision::kInt8 ? block : row);
  }
  int64_t row = 0, block = 0, steps = 0;
};

// One product on `threads` threads: its cut and the layout of scratch. Shared: converted A and panels of B. Per worker:
// a tile, a panel in progress or its own panels, and the operand's scratch.
struct Work {
  Work(const PanelProduct& product, const PanelOperand& operand, int threads)
      : p(product), b(operand), depth(p), a(p, depth, threads), panels(ceil_div(p.n, kPanelCols)) {
    constexpr auto kStepBytes = static_cast<int64_t>(sizeof(float));
    panel_bytes = depth.panel_steps * kPanelCols * kStepBytes;
    const bool matrix = matrix_unit(p.precision);
    const int64_t whole_panel = panel_bytes * depth.at_once;
    const int64_t packed = matrix ? std::min(kMatrixPackedBytes * threads, kMostPackedBytes) : kPackedBytes * threads;
    at_once = round_up(equal_parts(panels, packed / whole_panel), p.sink_panels);
    const int64_t rows = chunk_rows(p, threads), tasks = std::max(kTasks, kTasksPerThread * threads);
    if (p.sink != nullptr) sink_tile = {sink_rows(p.m, p.n, p.sink_panels), p.sink_panels};
    if (matrix) {
      const auto cut_of = [&](int64_t count) {
        return matrix_cut(rows, count, p.sink != nullptr ? sink_tile : Cut{kMatrixTile, 1},
                          kMatrixTasksPerThread * threads);
      };
      // a single block of the depth offers little to hide behind, and there is no room for two
      rebuilds = b.has_source() && depth.blocks > 1 && depth.whole();
      own_panels = rebuilds || cut_of(panels).rows >= p.m;
      if (own_panels) at_once = panels;
      cut = cut_of(at_once);
    } else {
      cut = p.sink != nullptr ? sink_tile : Cut{tile_rows_of(rows, at_once, tasks, std::min(rows, kChunkRows)), 1};
    }
    packed_at = align_up(static_cast<size_t>(a.steps * kStepBytes));
    // no less than a smaller product takes, even if this one is cut into more and smaller parts
    workers_at = packed_at + static_cast<size_t>(std::min(panels * whole_panel, std::max(packed, whole_panel) +
                                                                                    (p.sink_panels - 1) * whole_panel));
    streams = (matrix || p.sink != nullptr) && p.c != nullptr && !p.accumulate && depth.whole() &&
              p.m * p.n * kStepBytes >= kStreamedBytes;
    collects = p.sink != nullptr || streams || (matrix && depth.blocks > 1);
    if (matrix)
      tile_bytes = static_cast<size_t>(kMatrixRows * kMatrixPanels * kPanelCols * kStepBytes);
    else if (collects)
      tile_bytes = static_cast<size_t>(cut.rows * cut.panels * kPanelCols * kStepBytes);
    // in 8 bits the f32 weights of a block precede its bytes
    if (p.precision == Precision::kInt8) panel_scratch = static_cast<size_t>(depth.block * kPanelCols * kStepBytes);
    if (matrix) panel_scratch = static_cast<size_t>(kMatrixPanels * kDepthBlock * kPanelCols * kStepBytes);
    worker_bytes = tile_bytes + panel_scratch + align_up(b.scratch_bytes());
  }

  const PanelProduct& p;
  const PanelOperand& b;
  Depth depth;
  Converted a;
  int64_t panels;           // of B
  int64_t at_once;          // panels packed together
  Cut cut;                  // of A's rows and those panels
  Cut sink_tile = {};       // the part of C that a sink sees at once
  bool own_panels = false;  // a task packs its panels for itself, as no other needs them
  bool rebuilds = false;    // or the product rebuilds them while it multiplies those before
  bool streams;             // C is written past the caches
  bool collects;            // tiles of C stay in scratch until a part of the depth is summed
  int64_t panel_bytes;      // per block of one panel
  size_t packed_at, workers_at, tile_bytes = 0, panel_scratch = 0, worker_bytes;
};

constexpr int64_t kConvertRows = 16, kConvertColumns = 64;  // of A, per task

// Converts rows [begin, begin + rows) of A.
void convert_rows(ThreadPool& pool, const Work& w, DepthPart part, int64_t begin, int64_t rows, std::byte* out) {
  Bf16ConvertFunction* const to_bf16 = bf16_convert_table.best();
  Int8RowFunction* const to_int8 = int8_row_table.best();
  pool.parallel_for(ceil_div(rows, kConvertRows), [&](int64_t task, int) {
    alignas(64) float made[kMostMade];
    const int64_t end = std::min(rows, (task + 1) * kConvertRows);
    for (int64_t row = task * kConvertRows; row < end; ++row) {
      const float* const from = w.p.a + (begin + row) * w.p.a_stride;
      float* const to = reinterpret_cast<float*>(out) + row * w.a.row;
      if (w.p.precision == Precision::kInt8) {
        to_int8(from, w.p.depth, to);
        continue;
      }
      for (int64_t i = part.begin; i < part.end; ++i) {
        const int64_t at = i * w.depth.block, numbers = w.depth.numbers_of(i);
        if (w.p.source != nullptr) w.p.source->make(begin + row, at, numbers, made);
        to_bf16(w.p.source != nullptr ? made : from + at, 1, numbers,
                reinterpret_cast<uint16_t*>(to + (i - part.begin) * w.a.block));
      }
    }
  });
}

// Converts all rows of a transposed A to bf16: interleaves pairs of the depth, then transposes steps.
void convert_columns(ThreadPool& pool, const Work& w, DepthPart part, std::byte* out) {
  DensePanelFunction* const pair = dense_panel_columns_bf16_table.best();
  DensePanelFunction* const transpose = dense_panel_rows_f32_table.best();
  pool.parallel_for(part.count() * ceil_div(w.p.m, kConvertColumns), [&](int64_t task, int) {
    alignas(64) float pairs[kDepthBlock * kConvertColumns];
    const int64_t i = part.begin + task % part.count(), row = task / part.count() * kConvertColumns;
    const int64_t rows = std::min(kConvertColumns, w.p.m - row), numbers = w.depth.numbers_of(i);
    const float* const from = w.p.a + i * w.depth.block * w.p.a_stride + row;
    pair({from, w.p.a_stride, rows, numbers, kConvertColumns}, pairs);
    transpose({pairs, kConvertColumns, ceil_div(numbers, 2), rows, w.a.row},
              reinterpret_cast<float*>(out) + (i - part.begin) * w.a.block + row * w.a.row);
  });
}

// Packs panels [first, first + count) of B, one block of the depth per task: [block][panel].
void pack(ThreadPool& pool, const Work& w, DepthPart part, int64_t first, int64_t count, std::byte* scratch) {
  pool.parallel_for(part.count() * count, [&](int64_t task, int worker) {
    const int64_t i = part.begin + task / count, col = (first + task % count) * kPanelCols;
    std::byte* const own = scratch + w.workers_at + w.worker_bytes * static_cast<size_t>(worker) + w.tile_bytes;
    std::byte* const panel = scratch + w.packed_at + static_cast<size_t>(task * w.panel_bytes);
    std::byte* const made = w.panel_scratch > 0 ? own : panel;
    w.b.pack(col, std::min(kPanelCols, w.p.n - col), i * w.depth.block, w.depth.numbers_of(i), made,
             own + w.panel_scratch);
    if (made != panel) std::memcpy(panel, made, static_cast<size_t>(w.panel_bytes));
  });
}

DenseProductFunction* product_function(Precision precision) {
  if (precision == Precision::kInt8) return dense_product_i8_table.best();
  return (precision == Precision::kBf16 ? dense_product_bf16_table : dense_product_f32_table).best();
}

// Passes a collected tile of C with row stride `stride` to the sink, in the tiles that it sees, then writes it to C, or
// adds it if `add`.
void hand_over(const Work& w, bool add, const float* tile, int64_t stride, int64_t row, int64_t col, int64_t rows,
               int64_t cols, int worker) {
  const PanelProduct& p = w.p;
  if (p.sink != nullptr) {
    const int64_t tile_cols = w.sink_tile.panels * kPanelCols;
    for (int64_t i = 0; i < rows; i += w.sink_tile.rows)
      for (int64_t j = 0; j < cols; j += tile_cols)
        p.sink->consume({row + i, col + j, std::min(w.sink_tile.rows, rows - i), std::min(tile_cols, cols - j),
                         tile + i * stride + j, stride},
                        worker);
  }
  if (p.c == nullptr) return;
  for (int64_t i = 0; i < rows; ++i) {
    const float* const from = tile + i * stride;
    float* const to = p.c + (row + i) * p.c_stride + col;
    if (add)
      for (int64_t j = 0; j < cols; ++j) to[j] += from[j];
    else if (w.streams)
      stream(to, from, cols);
    else
      std::memcpy(to, from, static_cast<size_t>(cols) * sizeof(float));
  }
  if (w.streams) finish_streams();
}

// One task: rows [row, row + rows) of A within the chunk at `origin`, and `cols` columns from `col`, over a part of the
// depth.
struct Task {
  DepthPart part;
  int64_t origin, row, rows, col, cols;
};

// Describes the product of block i of the depth, without its panels.
ProductBlock block_of(const Work& w, const Task& t, int64_t i, float* tile, const std::byte* converted) {
  const PanelProduct& p = w.p;
  ProductBlock block = {};
  block.rows = t.rows;
  block.cols = t.cols;
  block.b_panel = w.depth.panel_steps * kPanelCols;
  block.c = w.collects ? tile : p.c + (t.origin + t.row) * p.c_stride + t.col;
  block.c_stride = w.collects ? w.cut.panels * kPanelCols : p.c_stride;
  block.bias = p.bias != nullptr && i == 0 ? p.bias + t.col : nullptr;
  if (converts(p)) {
    block.a = reinterpret_cast<const float*>(converted) + t.row * w.a.row + (i - t.part.begin) * w.a.block;
    block.a_row = w.a.row;
    block.a_depth = 1;
  } else {
    block.a_row = p.a_transposed ? 1 : p.a_stride;
    block.a_depth = p.a_transposed ? p.a_stride : 1;
    block.a = p.a + (t.origin + t.row) * block.a_row + i * w.depth.block * block.a_depth;
  }
  const int64_t numbers = w.depth.numbers_of(i);
  const int64_t whole = p.precision == Precision::kInt8 ? round_up(numbers, kRotated) : numbers;
  block.depth = ceil_div(whole, step_size(p.precision));
  block.accumulate = i > t.part.begin || (!w.collects && (i > 0 || p.accumulate));
  return block;
}

// The tasks for a converted chunk of A and panels [first, first + count).
class Tasks {
 public:
  Tasks(const Work& w, DepthPart part, int64_t origin, int64_t rows, int64_t first, int64_t count, std::byte* scratch)
      : w_(w),
        part_(part),
        origin_(origin),
        rows_(rows),
        first_(first),
        count_(count),
        across_(ceil_div(count, w.cut.panels)),
        scratch_(scratch),
        multiply_(product_function(w.p.precision)) {}

  void run(ThreadPool& pool) {
    const int64_t tasks = across_ * ceil_div(rows_, w_.cut.rows);
    if (!w_.rebuilds) {
      pool.parallel_for(tasks, [&](int64_t index, int worker) { multiply_one(task(index), worker); });
      return;
    }
    std::atomic<int64_t> next{0};
    pool.parallel_for(std::min<int64_t>(tasks, pool.threads()),
                      [&](int64_t, int worker) { multiply_and_rebuild(next, tasks, worker); });
  }

 private:
  Task task(int64_t index) const {
    const int64_t row = index / across_ * w_.cut.rows, col = (first_ + index % across_ * w_.cut.panels) * kPanelCols;
    const int64_t end = std::min(w_.p.n, (first_ + count_) * kPanelCols);
    return {part_, origin_,
            row,   std::min(w_.cut.rows, rows_ - row),
            col,   std::min(w_.cut.panels * kPanelCols, end - col)};
  }

  std::byte* own(int worker) const { return scratch_ + w_.workers_at + w_.worker_bytes * static_cast<size_t>(worker); }

  void finish(const Task& t, int worker) const {
    if (!w_.collects) return;
    const float* const tile = reinterpret_cast<const float*>(own(worker));
    hand_over(w_, w_.p.accumulate || t.part.begin > 0, tile, w_.cut.panels * kPanelCols, t.origin + t.row, t.col,
              t.rows, t.cols, worker);
  }

  // Returns the panels of one block of the depth, which all threads packed or which this task packs for itself.
  const std::byte* panels(const Task& t, int64_t i, int worker) const {
    if (!w_.own_panels) {
      const int64_t panel = (i - t.part.begin) * count_ + t.col / kPanelCols - first_;
      return scratch_ + w_.packed_at + static_cast<size_t>(panel * w_.panel_bytes);
    }
    std::byte* const to = own(worker) + w_.tile_bytes;
    for (int64_t j = 0; j < t.cols; j += kPanelCols)
      w_.b.pack(t.col + j, std::min(kPanelCols, t.cols - j), i * w_.depth.block, w_.depth.numbers_of(i),
                to + static_cast<size_t>(j / kPanelCols * w_.panel_bytes), to + w_.panel_scratch);
    return to;
  }

  void multiply_one(const Task& t, int worker) const {
    for (int64_t i = t.part.begin; i < t.part.end; ++i) {
      ProductBlock block = block_of(w_, t, i, reinterpret_cast<float*>(own(worker)), scratch_);
      block.b = panels(t, i, worker);
      if (!w_.own_panels && i + 1 < t.part.end) block.next = panels(t, i + 1, worker);
      multiply_(block);
    }
    finish(t, worker);
  }

  // Runs task after task and rebuilds the next panels while the current ones are multiplied. The next task is taken one
  // block of the depth early, so that its panels are rebuilt too.
  void multiply_and_rebuild(std::atomic<int64_t>& next, int64_t tasks, int worker) const {
    std::byte* const tile = own(worker);
    std::byte *now = tile + w_.tile_bytes, *later = now + w_.panel_scratch / 2;
    const auto source = [&](const Task& t, int64_t i, std::byte* panels) {
      BooleanPanels p = w_.b.source(t.col, t.cols, i * w_.depth.block, w_.depth.numbers_of(i));
      p.panels = reinterpret_cast<float*>(panels);
      p.panel = w_.depth.panel_steps * kPanelCols;
      return p;
    };
    int64_t index = next++;
    if (index >= tasks) return;
    const BooleanPanels first = source(task(index), 0, now);
    ProductBlock block = {};
    block.rebuild = &first;
    multiply_(block);
    while (index < tasks) {
      const Task t = task(index);
      for (int64_t i = 0; i < w_.depth.blocks; ++i) {
        const bool last = i + 1 == w_.depth.blocks;
        if (last) index = next++;
        block = block_of(w_, t, i, reinterpret_cast<float*>(tile), scratch_);
        block.b = now;
        block.rebuilt = true;
        BooleanPanels following = {};
        if (!last || index < tasks) {
          following = source(last ? task(index) : t, last ? 0 : i + 1, later);
          block.rebuild = &following;
        }
        multiply_(block);
        std::swap(now, later);
      }
      finish(t, worker);
    }
  }

  const Work& w_;
  DepthPart part_;
  int64_t origin_, rows_, first_, count_, across_;
  std::byte* scratch_;
  DenseProductFunction* multiply_;
};

}  // namespace

Precision usable_precision(Precision wanted) {
  const auto has = [](uint32_t features) { return (cpu_features() & features) == features; };
  const bool vnni = has(kAvx512 | kAvx512Vnni) || (has(kAvx2 | kAvxVnni) && !has(kAvx512));
  const bool int8 = (vnni && !has(kAmxBf16)) || has(kDotprod);
  if (wanted == Precision::kInt8 && int8) return Precision::kInt8;
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

void DenseOperand::pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel, std::byte*) const {
  const float* source = transposed_ ? data_ + depth_begin * stride_ + col : data_ + col * stride_ + depth_begin;
  pack_({source, stride_, cols, depth, kPanelCols}, panel);
}

TileGrid product_tile_grid(int64_t m, int64_t n) {
  const int64_t rows = sink_rows(m, n, 1);
  return {rows, kPanelCols, ceil_div(m, rows), ceil_div(n, kPanelCols)};
}

size_t panel_product_scratch(const PanelProduct& p, const PanelOperand& b, int threads) {
  const Work w(p, b, threads);
  const size_t bytes = w.workers_at + w.worker_bytes * static_cast<size_t>(threads);
  if (w.depth.whole()) return bytes;
  // a product just not deep enough to be cut takes more
  PanelProduct whole = p;
  whole.depth = (kDeepBlocks - 1) * w.depth.block;
  return std::max(bytes, panel_product_scratch(whole, b, threads));
}

void panel_product(ThreadPool& pool, const PanelProduct& p, const PanelOperand& b, std::byte* scratch) {
  const Work w(p, b, pool.threads());
  const int64_t chunk = std::max<int64_t>(1, chunk_rows(p, pool.threads()));
  for (int64_t origin = 0; origin < p.m; origin += chunk) {
    const int64_t rows = std::min(chunk, p.m - origin);
    for (int64_t begin = 0; begin < w.depth.blocks; begin += w.depth.at_once) {
      const DepthPart part = {begin, std::min(w.depth.blocks, begin + w.depth.at_once)};
      if (converts(p) && p.a_transposed)
        convert_columns(pool, w, part, scratch);
      else if (converts(p))
        convert_rows(pool, w, part, origin, rows, scratch);
      for (int64_t first = 0; first < w.panels; first += w.at_once) {
        const int64_t count = std::min(w.at_once, w.panels - first);
        if (!w.own_panels) pack(pool, w, part, first, count, scratch);
        Tasks(w, part, origin, rows, first, count, scratch).run(pool);
      }
    }
  }
}

}  // namespace mbok
