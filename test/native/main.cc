// Runs every case, or those whose name contains the first argument. Prints the instruction set in use first and a line
// of counts last.
#include "test.h"

#include <cstring>
#include <exception>

#include "runtime/cpu.h"

namespace mbok::test {

std::vector<Case>& cases() {
  static std::vector<Case> list;
  return list;
}

int register_case(const char* name, void (*body)()) {
  cases().push_back({name, body});
  return 0;
}

static int failures_in_case = 0;

void fail(const char* file, int line, const std::string& message) {
  if (++failures_in_case <= 5) std::printf("  %s:%d: %s\n", file, line, message.c_str());
}

uint64_t Random::next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

float Random::normal() {
  const double u = 1.0 - uniform(), v = uniform();
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
}

std::vector<float> Random::normals(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal();
  return values;
}

std::vector<uint64_t> Random::bits(int64_t rows, int64_t cols) {
  const int64_t words = (cols + 63) / 64;
  std::vector<uint64_t> values(static_cast<size_t>(rows * words));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t w = 0; w < words; ++w) {
      const int64_t left = cols - 64 * w;
      const uint64_t mask = left >= 64 ? ~0ull : (1ull << left) - 1;
      values[static_cast<size_t>(r * words + w)] = next() & mask;
    }
  return values;
}

double relative_error(const float* a, const float* b, int64_t count) {
  double difference = 0, norm = 0, own = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    difference += d * d;
    norm += static_cast<double>(b[i]) * b[i];
    own += static_cast<double>(a[i]) * a[i];
  }
  return std::sqrt(norm > 0 ? difference / norm : own);
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  return relative_error(a.data(), b.data(), static_cast<int64_t>(a.size()));
}

}  // namespace mbok::test

int main(int argc, char** argv) {
  try {
    std::printf("on %s: %s\n", mbok::cpu_name(), mbok::isa_name());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  int passed = 0, failed = 0;
  for (const auto& test : mbok::test::cases()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    mbok::test::failures_in_case = 0;
    try {
      test.body();
    } catch (const std::exception& error) {
      mbok::test::fail("exception", 0, error.what());
    }
    const bool ok = mbok::test::failures_in_case == 0;
    std::printf("%s %s\n", ok ? "ok  " : "FAIL", test.name);
    std::fflush(stdout);
    ++(ok ? passed : failed);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
