// The executor's table of operations.
#pragma once

#include <string>

#include "runtime/operation.h"

namespace mbok {

// Throws Error MBOK_INVALID_ARGUMENT for a name that the table lacks.
const Operation& find_operation(const std::string& name);

}  // namespace mbok
