#include "kernels/bit_tiles/candidates.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<TileBitsFunction> tile_bits_table("tile_bits", {
    {"scalar", kNone, scalar::tile_bits},
});

const KernelTable<UntileBitsFunction> untile_bits_table("untile_bits", {
    {"scalar", kNone, scalar::untile_bits},
});

const KernelTable<BitPlanesFunction> bit_planes_table("bit_planes", {
    MBOK_VECTOR_CANDIDATES(bit_planes)
    {"scalar", kNone, scalar::bit_planes},
});

}  // namespace mbok
