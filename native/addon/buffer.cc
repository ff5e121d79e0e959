#include <cstring>
#include <string>

#include "addon/addon.h"

namespace mbok::addon {
namespace {

struct Bytes {
  std::byte* data;
  size_t count;
};

// Type tag that identifies wrapped buffers. Unlike the prototype, JavaScript cannot change it.
constexpr napi_type_tag kBufferTag = {0x6d626f6b2d627566, 0x666572206f662030};

// Returns the memory of a typed array over an ArrayBuffer or a SharedArrayBuffer; empty when it is detached.
Bytes view_bytes(const Napi::Value& value, const char* name) {
  if (value.IsTypedArray()) {
    const auto array = value.As<Napi::TypedArray>();
    void* data = nullptr;
    size_t length = 0;
    const napi_status status = napi_get_typedarray_info(value.Env(), value, nullptr, &length, &data, nullptr, nullptr);
    const size_t element = array.ElementSize();  // 0: a type that this version of N-API lacks
    if (status == napi_ok && element > 0) return {static_cast<std::byte*>(data), length * element};
  }
  throw to_js_error(value.Env(), "MBOK_INVALID_ARGUMENT", "'" + std::string(name) + "' must be a typed array");
}

// Returns the address of `block` at argument `offset`, checked for a copy of `count` bytes.
std::byte* target_range(const Napi::Value& offset, const Memory& block, size_t count) {
  const size_t start = static_cast<size_t>(to_integer(offset, "byteOffset"));
  if (start > block.bytes() || count > block.bytes() - start)
    throw to_js_error(offset.Env(), "MBOK_INVALID_ARGUMENT",
                      std::to_string(count) + " bytes at offset " + std::to_string(start) + " exceed a buffer of " +
                          std::to_string(block.bytes()) + " bytes");
  return block.data() + start;
}

}  // namespace

Napi::Function BufferHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeBuffer",
                     {InstanceAccessor<&BufferHandle::byte_length>("byteLength"),
                      InstanceMethod<&BufferHandle::write>("write"), InstanceMethod<&BufferHandle::read>("read"),
                      InstanceMethod<&BufferHandle::dispose>("dispose")});
}

BufferHandle::BufferHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<BufferHandle>(info) {
  const size_t bytes = static_cast<size_t>(to_integer(info[0], "bytes"));
  block_ = guarded(info.Env(), [&] { return std::make_shared<Memory>(bytes); });
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), static_cast<int64_t>(bytes));
  info.This().As<Napi::Object>().TypeTag(&kBufferTag);
}

const BufferHandle* BufferHandle::from(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kBufferTag)) return nullptr;
  return Unwrap(value.As<Napi::Object>());
}

BufferHandle::~BufferHandle() {
  if (block_) Napi::MemoryManagement::AdjustExternalMemory(Env(), -static_cast<int64_t>(block_->bytes()));
}

std::shared_ptr<Memory> BufferHandle::block(Napi::Env env) const {
  if (!block_) throw to_js_error(env, "MBOK_DISPOSED", "this buffer has been disposed");
  return block_;
}

Napi::Value BufferHandle::byte_length(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), block_ ? static_cast<double>(block_->bytes()) : 0.0);
}

void BufferHandle::write(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Memory> memory = block(info.Env());
  const Bytes source = view_bytes(info[0], "source");
  std::byte* target = target_range(info[1], *memory, source.count);
  if (source.count > 0) std::memcpy(target, source.data, source.count);
}

void BufferHandle::read(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Memory> memory = block(info.Env());
  const Bytes target = view_bytes(info[0], "target");
  const std::byte* source = target_range(info[1], *memory, target.count);
  if (target.count > 0) std::memcpy(target.data, source, target.count);
}

void BufferHandle::dispose(const Napi::CallbackInfo& info) {
  if (!block_) return;
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -static_cast<int64_t>(block_->bytes()));
  block_.reset();
}

}  // namespace mbok::addon
