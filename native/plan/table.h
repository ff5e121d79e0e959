// The executor's table of operations.
#pragma once

#include <string>

#include "runtime/operation.h"

namespace mbok {

// Finds an operation by name; throws Error MBOK_INVALID_ARGUMENT when the table lacks it.
const Operation& find_operation(const std::string& name);

}  // namespace mbok
