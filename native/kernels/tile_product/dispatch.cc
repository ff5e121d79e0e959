#include "kernels/simd/target.h"
#include "kernels/tile_product/tile_product.h"

namespace mbok {

const KernelTable<TileProductFunction> tile_product_table("tile_product", {
    MBOK_VECTOR_CANDIDATES(subtract_tile_product)
    {"scalar", kNone, scalar::subtract_tile_product},
});

const KernelTable<WidenTileFunction> widen_tile_table("widen_tile", {
    MBOK_VECTOR_CANDIDATES(widen_tile)
    {"scalar", kNone, scalar::widen_tile},
});

}  // namespace mbok
