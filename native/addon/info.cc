#include "addon/addon.h"
#include "kernels/dense_decode/dense_decode.h"
#include "operations/decode_rows.h"
#include "runtime/cpu.h"
#include "runtime/dispatch.h"

namespace mbok::addon {
namespace {

Napi::Array most_rows_by_kernels(Napi::Env env, Precision precision) {
  Napi::Array rows = Napi::Array::New(env, kDecodedKernels);
  for (uint32_t k = 0; k < kDecodedKernels; ++k) rows.Set(k, static_cast<double>(most_decoded_rows(precision, k + 1)));
  return rows;
}

}  // namespace

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
    Napi::Object decoded = Napi::Object::New(env);
    decoded.Set("f32", most_rows_by_kernels(env, Precision::kF32));
    decoded.Set("bf16", most_rows_by_kernels(env, Precision::kBf16));
    decoded.Set("int8", most_rows_by_kernels(env, Precision::kInt8));
    result.Set("decodedRows", decoded);
    result.Set("streamedRows", static_cast<double>(kDecodeRows));
    return result;
  });
}

}  // namespace mbok::addon
