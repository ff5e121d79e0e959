// Elementary functions of the vector classes against libm, over the whole range of floats.
#include "kernels/simd/avx2.h"
#include "kernels/simd/avx512.h"
#include "runtime/cpu.h"
#include "test.h"

#if defined(MBOK_X86)

namespace mbok {
namespace {

using Sixteen = void(const float* x, float* y);

}  // namespace

MBOK_TARGET_AVX2
namespace avx2 {
static void test_exp(const float* x, float* y) {
  for (int i = 0; i < 16; i += 8) store(y + i, exp(load(x + i)));
}
static void test_tanh(const float* x, float* y) {
  for (int i = 0; i < 16; i += 8) store(y + i, tanh(load(x + i)));
}
static void test_erf(const float* x, float* y) {
  for (int i = 0; i < 16; i += 8) store(y + i, erf(load(x + i)));
}
}  // namespace avx2
MBOK_TARGET_END

MBOK_TARGET_AVX512
namespace avx512 {
static void test_exp(const float* x, float* y) { store(y, exp(load(x))); }
static void test_tanh(const float* x, float* y) { store(y, tanh(load(x))); }
static void test_erf(const float* x, float* y) { store(y, erf(load(x))); }
}  // namespace avx512
MBOK_TARGET_END

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
  const Row rows[] = {
      {"avx2 exp", kAvx2, avx2::test_exp, std::exp},       {"avx2 tanh", kAvx2, avx2::test_tanh, std::tanh},
      {"avx2 erf", kAvx2, avx2::test_erf, std::erf},       {"avx512 exp", kAvx512, avx512::test_exp, std::exp},
      {"avx512 tanh", kAvx512, avx512::test_tanh, std::tanh}, {"avx512 erf", kAvx512, avx512::test_erf, std::erf},
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
