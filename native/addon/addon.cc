#include "addon/addon.h"

#include <cmath>
#include <string>

#include "addon/stay_loaded.h"

namespace mbok::addon {

Napi::Error to_js_error(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

int64_t to_integer(const Napi::Value& value, const char* name, int64_t minimum, int64_t maximum) {
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    const bool in_range = number >= static_cast<double>(minimum) && number <= static_cast<double>(maximum);
    if (in_range && number == std::floor(number)) return static_cast<int64_t>(number);
  }
  throw to_js_error(value.Env(), "MBOK_INVALID_ARGUMENT",
                    "'" + std::string(name) + "' must be an integer from " + std::to_string(minimum) + " to " +
                        std::to_string(maximum));
}

namespace {

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  stay_loaded();
  exports.Set("NativeBuffer", BufferHandle::define(env));
  exports.Set("NativePlan", PlanHandle::define(env));
  exports.Set("info", Napi::Function::New(env, info, "info"));
  exports.Set("weigh", Napi::Function::New(env, weigh, "weigh"));
  return exports;
}

}  // namespace

NODE_API_MODULE(mbok, initialize)

}  // namespace mbok::addon
