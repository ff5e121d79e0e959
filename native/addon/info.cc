#include "addon/addon.h"
#include "runtime/cpu.h"
#include "runtime/dispatch.h"

namespace mbok::addon {

Napi::Value info(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    result.Set("cpu", cpu_name());
    result.Set("isa", isa_name());
    result.Set("threads", ThreadPool::shared().threads());
    Napi::Object kernels = Napi::Object::New(env);
    for (const KernelTableBase* table = KernelTableBase::first(); table != nullptr; table = table->next())
      kernels.Set(table->name(), table->serving());
    result.Set("kernels", kernels);
    return result;
  });
}

}  // namespace mbok::addon
