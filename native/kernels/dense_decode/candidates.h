// Candidates of the dispatch tables of dense_decode.h.
#pragma once

#include "kernels/dense_decode/dense_decode.h"

namespace mbok {

#define MBOK_DENSE_DECODE_DECLARE(isa)                                                        \
  namespace isa {                                                                             \
  DenseDecodeFunction dense_decode_f32, dense_decode_f16, dense_decode_bf16, dense_decode_i8; \
  DenseDecodeFunction dense_decode_q8;                                                        \
  }
MBOK_DENSE_DECODE_DECLARE(scalar)
MBOK_DENSE_DECODE_DECLARE(avx2)
MBOK_DENSE_DECODE_DECLARE(avx512)
MBOK_DENSE_DECODE_DECLARE(neon)
#undef MBOK_DENSE_DECODE_DECLARE

}  // namespace mbok
