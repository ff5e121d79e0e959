// The plain C++ test program: TEST registers a case, CHECK reports a failure and continues.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace mbok::test {

struct Case {
  const char* name;
  void (*body)();
};

std::vector<Case>& cases();
int register_case(const char* name, void (*body)());
void fail(const char* file, int line, const std::string& message);

// Deterministic numbers: splitmix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  int64_t integer(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
  }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  float normal();
  std::vector<float> normals(int64_t count);
  std::vector<uint64_t> bits(int64_t rows, int64_t cols);  // padding zero

 private:
  uint64_t state_;
};

// ‖a − b‖ / ‖b‖, or ‖a‖ if b is zero.
double relative_error(const float* a, const float* b, int64_t count);
double relative_error(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace mbok::test

#define MBOK_TEST_JOIN2(a, b) a##b
#define MBOK_TEST_JOIN(a, b) MBOK_TEST_JOIN2(a, b)
#define TEST(name)                                                             \
  static void MBOK_TEST_JOIN(test_body_, __LINE__)();                          \
  [[maybe_unused]] static const int MBOK_TEST_JOIN(test_entry_, __LINE__) =    \
      ::mbok::test::register_case(name, MBOK_TEST_JOIN(test_body_, __LINE__)); \
  static void MBOK_TEST_JOIN(test_body_, __LINE__)()
#define CHECK(condition, message)                                                                         \
  do {                                                                                                    \
    if (!(condition)) ::mbok::test::fail(__FILE__, __LINE__, std::string(#condition) + ": " + (message)); \
  } while (0)
