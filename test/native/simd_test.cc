// Elementary functions of the vector classes against libm, over the whole range of floats.
#include "kernels/simd/avx2.h"
#include "kernels/simd/avx512.h"
#include "kernels/simd/neon.h"
#include "runtime/cpu.h"
#include "test.h"

#if defined(MBOK_X86) || defined(MBOK_NEON)

namespace mbok {
namespace {

using Sixteen = void(const float* x, float* y);

}  // namespace

#define MBOK_TEST_FUNCTION(name)                                                     \
  static void test_##name(const float* x, float* y) {                                \
    for (int64_t i = 0; i < 16; i += kLanes) store(y + i, name(load(x + i)));        \
  }
#define MBOK_TEST_FUNCTIONS MBOK_TEST_FUNCTION(exp) MBOK_TEST_FUNCTION(tanh) MBOK_TEST_FUNCTION(erf)

#if defined(MBOK_X86)
MBOK_TARGET_AVX2
namespace avx2 {
MBOK_TEST_FUNCTIONS
}
MBOK_TARGET_END

MBOK_TARGET_AVX512
namespace avx512 {
MBOK_TEST_FUNCTIONS
}
MBOK_TARGET_END
#else
namespace neon {
MBOK_TEST_FUNCTIONS
}
#endif

namespace {

double worst_ulp(Sixteen* function, double (*reference)(double)) {
  double worst = 0;
  for (uint64_t bits = 0; bits < 0xff800000u; bits += 16 * 1009) {
    float x[16], y[16];
    for (uint32_t i = 0; i < 16; ++i) {
      const uint32_t pattern = static_cast<uint32_t>(bits) + i * 1009;
      __builtin_memcpy(&x[i], &pattern, 4);
    }
    function(x, y);
    for (int i = 0; i < 16; ++i) {
      const double exact = reference(x[i]);
      if (!std::isfinite(x[i]) || std::fabs(exact) < 1.2e-38) continue;
      if (std::fabs(exact) > 3.4028235e38) {
        if (!std::isinf(y[i])) worst = INFINITY;
        continue;
      }
      int exponent;
      std::frexp(exact, &exponent);
      worst = std::fmax(worst, std::fabs(y[i] - exact) / std::ldexp(1.0, exponent - 24));
    }
  }
  return worst;
}

TEST("simd: exp, tanh and erf are within 2 ulp and keep NaN") {
  struct Row {
    const char* name;
    uint32_t needs;
    Sixteen* function;
    double (*reference)(double);
  };
#define MBOK_TEST_ROWS(isa, needs)                                                                  \
  {#isa " exp", needs, isa::test_exp, std::exp}, {#isa " tanh", needs, isa::test_tanh, std::tanh}, \
      {#isa " erf", needs, isa::test_erf, std::erf},
  const Row rows[] = {
#if defined(MBOK_X86)
      MBOK_TEST_ROWS(avx2, kAvx2) MBOK_TEST_ROWS(avx512, kAvx512)
#else
      MBOK_TEST_ROWS(neon, kNeon)
#endif
  };
  for (const Row& row : rows) {
    if ((cpu_features() & row.needs) != row.needs) continue;
    const double worst = worst_ulp(row.function, row.reference);
    CHECK(worst <= 2, std::string(row.name) + ": " + std::to_string(worst) + " ulp");
    float x[16] = {NAN}, y[16];
    row.function(x, y);
    CHECK(std::isnan(y[0]), row.name);
  }
}

}  // namespace
}  // namespace mbok

#endif
