#include "runtime/operation.h"

#include <cmath>

namespace mbok {
namespace {

const char* type_name(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return "f32";
    case TensorType::kI32:
      return "i32";
    case TensorType::kF16:
      return "f16";
    case TensorType::kBf16:
      return "bf16";
    case TensorType::kBits:
      return "bits";
    case TensorType::kU8:
      return "u8";
    case TensorType::kI8:
      return "i8";
    case TensorType::kBitTiles:
      return "bitTiles";
    case TensorType::kQ8:
      return "q8";
  }
  return "unknown";
}

std::string describe(TensorType type, int64_t rows, int64_t cols) {
  return std::string(type_name(type)) + " [" + std::to_string(rows) + ", " + std::to_string(cols) + "]";
}

[[noreturn]] void fail(const Call& call, const std::string& what) {
  throw Error("MBOK_SHAPE", "operation '" + std::string(call.operation) + "': " + what);
}

}  // namespace

int64_t Call::integer(int i) const {
  const double value = attributes[i];
  const int64_t integer = std::fabs(value) <= 0x1p31 ? static_cast<int64_t>(value) : 0;
  if (static_cast<double>(integer) != value)
    fail(*this, "attribute " + std::to_string(i) + " must be an integer of 32 bits");
  return integer;
}

void expect(const Call& call, bool condition, const char* what) {
  if (!condition) fail(call, what);
}

void expect_counts(const Call& call, int inputs, int outputs, int attributes) {
  expect_counts_between(call, inputs, inputs, outputs, outputs, attributes);
}

void expect_counts_between(const Call& call, int min_inputs, int max_inputs, int min_outputs, int max_outputs,
                           int attributes) {
  if (call.input_count < min_inputs || call.input_count > max_inputs)
    fail(call, "takes " + std::to_string(min_inputs) + " to " + std::to_string(max_inputs) + " inputs, got " +
                   std::to_string(call.input_count));
  if (call.output_count < min_outputs || call.output_count > max_outputs)
    fail(call, "takes " + std::to_string(min_outputs) + " to " + std::to_string(max_outputs) + " outputs, got " +
                   std::to_string(call.output_count));
  if (call.attribute_count != attributes)
    fail(call, "takes " + std::to_string(attributes) + " attributes, got " + std::to_string(call.attribute_count));
  for (int i = 0; i < min_inputs; ++i)
    if (!call.has_input(i)) fail(call, "input " + std::to_string(i) + " is missing");
  for (int i = 0; i < min_outputs; ++i)
    if (!call.has_output(i)) fail(call, "output " + std::to_string(i) + " is missing");
}

void expect_tensor(const Call& call, const Tensor& tensor, const char* name, TensorType type, int64_t rows,
                   int64_t cols, bool optional) {
  if (optional && tensor.data == nullptr) return;
  if (tensor.data == nullptr || tensor.type != type || tensor.rows != rows || tensor.cols != cols)
    fail(call, std::string("'") + name + "' must be " + describe(type, rows, cols) + ", got " +
                   (tensor.data == nullptr ? "nothing" : describe(tensor.type, tensor.rows, tensor.cols)));
}

}  // namespace mbok
