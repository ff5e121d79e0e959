#include "kernels/int8/int8.h"
#include "kernels/simd/narrow_avx2.h"

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace mbok::avx2 {

void int8_widen(const int8_t* from, float scale, float* to, int64_t count) {
  const Vec factor = broadcast(scale);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) store(to + j, I8::load(from + j) * factor);
  if (j < count) store_n(to + j, I8::load_n(from + j, count - j) * factor, count - j);
}

}  // namespace mbok::avx2
MBOK_TARGET_END
#endif
