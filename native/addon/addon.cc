#include "addon/addon.h"

#include <cmath>
#include <string>

namespace mbok::addon {

Napi::Error to_js_error(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

int64_t to_integer(const Napi::Value& value, const char* name, int64_t minimum) {
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    if (number == std::floor(number) && number >= static_cast<double>(minimum) && number <= 9007199254740991.0)
      return static_cast<int64_t>(number);
  }
  throw to_js_error(value.Env(), "MBOK_INVALID_ARGUMENT",
                    "'" + std::string(name) + "' must be an integer of at least " + std::to_string(minimum));
}

namespace {

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto* constructors = new Constructors;
  const Napi::Function buffer = BufferHandle::define(env);
  constructors->buffer = Napi::Persistent(buffer);
  env.SetInstanceData(constructors);
  exports.Set("NativeBuffer", buffer);
  exports.Set("NativePlan", PlanHandle::define(env));
  exports.Set("info", Napi::Function::New(env, info, "info"));
  return exports;
}

}  // namespace

NODE_API_MODULE(mbok, initialise)

}  // namespace mbok::addon
