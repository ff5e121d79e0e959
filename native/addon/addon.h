// The N-API layer checks arguments, converts them, calls native code and maps errors to JavaScript.
// lib/native/addon.ts describes it in TypeScript.
#pragma once

// A run that ends while its worker thread is being terminated can no longer settle its promise. This must not abort the
// process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#include <napi.h>

#include <memory>

#include "plan/plan.h"
#include "runtime/memory.h"

namespace mbok::addon {

// Makes a JavaScript Error with the property `code`, ready to be thrown.
Napi::Error to_js_error(Napi::Env env, const char* code, const std::string& message);

// Calls `body` and turns C++ exceptions into JavaScript errors with a code. An uncaught one would end the process.
template <class Body>
auto guarded(Napi::Env env, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_js_error(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw to_js_error(env, "MBOK_OUT_OF_MEMORY", "out of memory");
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw to_js_error(env, "MBOK_INTERNAL", error.what());
  }
}

constexpr int64_t kMaxSafeInteger = 9007199254740991;  // 2^53 − 1, JavaScript's Number.MAX_SAFE_INTEGER

// Returns an integer argument within these bounds; throws a JavaScript error that names it otherwise.
int64_t to_integer(const Napi::Value& value, const char* name, int64_t minimum = 0, int64_t maximum = kMaxSafeInteger);

// Aligned native memory that plans compute on.
class BufferHandle : public Napi::ObjectWrap<BufferHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit BufferHandle(const Napi::CallbackInfo& info);
  ~BufferHandle() override;
  // Returns the handle that a JavaScript value wraps, or null for any other value, even one with a forged prototype.
  static const BufferHandle* from(const Napi::Value& value);
  // Returns the block, shared with the plans that use it; throws MBOK_DISPOSED after dispose().
  std::shared_ptr<Memory> block(Napi::Env env) const;

 private:
  Napi::Value byte_length(const Napi::CallbackInfo& info);
  void write(const Napi::CallbackInfo& info);
  void read(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<Memory> block_;
};

class PlanHandle : public Napi::ObjectWrap<PlanHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit PlanHandle(const Napi::CallbackInfo& info);
  struct State;

 private:
  Napi::Value scratch_bytes(const Napi::CallbackInfo& info);
  Napi::Value seconds(const Napi::CallbackInfo& info);
  Napi::Value run(const Napi::CallbackInfo& info);
  void abort(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<State> state_;
};

Napi::Value info(const Napi::CallbackInfo& info);
void weigh(const Napi::CallbackInfo& info);

}  // namespace mbok::addon
