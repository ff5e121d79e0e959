// Helpers of the operation tests: float64 finite differences, every supported candidate.
#pragma once

#include <cstring>
#include <vector>

#include "run.h"
#include "runtime/dispatch.h"
#include "test.h"

namespace mbok::test {

inline std::vector<double> to_double(const std::vector<float>& values) { return {values.begin(), values.end()}; }

inline Tensor integers(const std::vector<int32_t>& values) {
  return {const_cast<int32_t*>(values.data()), static_cast<int64_t>(values.size()), 1, TensorType::kI32};
}

// ∂f/∂x by central differences; f takes the whole vector.
template <class Function>
std::vector<float> finite_differences(const std::vector<float>& at, Function f) {
  constexpr double kStep = 1e-5;
  std::vector<double> x = to_double(at);
  std::vector<float> gradient(at.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double center = x[i];
    x[i] = center + kStep;
    const double above = f(x);
    x[i] = center - kStep;
    const double below = f(x);
    x[i] = center;
    gradient[i] = static_cast<float>((above - below) / (2 * kStep));
  }
  return gradient;
}

// Calls body(function, name) for every candidate of the table that this machine supports.
template <class Function, class Body>
void for_each_candidate(const KernelTable<Function>& table, Body body) {
  for (const Candidate<Function>& candidate : table.candidates())
    if (candidate.supported()) body(candidate.function, std::string(table.name()) + " " + candidate.name);
}

inline void check_close(const std::vector<float>& got, const std::vector<float>& expected, double tolerance,
                        const std::string& name) {
  const double error = relative_error(got, expected);
  CHECK(error <= tolerance, name + ": relative error " + std::to_string(error * 1e6) + "e-6");
}

// Returns whether run() throws an Error with this code.
template <class Run>
bool throws(const char* code, Run run) {
  try {
    run();
  } catch (const Error& error) {
    return std::strcmp(error.code(), code) == 0;
  }
  return false;
}

}  // namespace mbok::test
