// Errors that cross the native boundary. Each carries the stable code that JavaScript sees.
#pragma once

#include <stdexcept>
#include <string>

namespace mbok {

class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  // A stable identifier such as "MBOK_SHAPE"; lib/errors.ts lists all of them.
  const char* code() const { return code_; }

 private:
  const char* code_;
};

}  // namespace mbok
