#include <cmath>

#include "addon/addon.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace mbok::addon {
namespace {

Napi::Float32Array to_floats(const Napi::Value& value, const char* name) {
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array)
    return value.As<Napi::Float32Array>();
  throw to_js_error(value.Env(), "MBOK_INVALID_ARGUMENT", "'" + std::string(name) + "' must be a Float32Array");
}

float to_finite(const Napi::Value& value, const char* name) {
  const float number = value.IsNumber() ? value.As<Napi::Number>().FloatValue() : NAN;
  if (std::isfinite(number)) return number;
  throw to_js_error(value.Env(), "MBOK_INVALID_ARGUMENT", "'" + std::string(name) + "' must be a number of 32 bits");
}

}  // namespace

void weigh(const Napi::CallbackInfo& call) {
  const Napi::Float32Array logits = to_floats(call[0], "logits");
  const int64_t run = to_integer(call[1], "run", 1);
  const float factor = to_finite(call[2], "factor");
  Napi::Float32Array largest = to_floats(call[3], "largest"), weights = to_floats(call[4], "weights");
  const auto cols = static_cast<int64_t>(logits.ElementLength()), runs = cols / run + (cols % run > 0 ? 1 : 0);
  for (const auto& made : {largest, weights})
    if (static_cast<int64_t>(made.ElementLength()) != runs)
      throw to_js_error(call.Env(), "MBOK_INVALID_ARGUMENT",
                        "'largest' and 'weights' must have an element for each run of 'logits'");
  weigh_runs_table.best()({logits.Data(), cols, run, factor}, largest.Data(), weights.Data());
}

}  // namespace mbok::addon
