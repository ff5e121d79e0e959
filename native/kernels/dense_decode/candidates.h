// The candidates behind the table of dense_decode.h.
#pragma once

#include "kernels/dense_decode/dense_decode.h"

namespace mbok {
namespace scalar {
void dense_decode(const DenseDecode& decode);
}
namespace avx2 {
void dense_decode(const DenseDecode& decode);
}
namespace avx512 {
void dense_decode(const DenseDecode& decode);
}
}  // namespace mbok
