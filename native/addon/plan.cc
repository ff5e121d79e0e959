#include "plan/plan.h"

#include <atomic>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "addon/addon.h"

namespace mbok::addon {

// Shared by the handle and a run in flight, because either may be destroyed first.
struct PlanHandle::State {
  explicit State(PlanDescription description) : plan(std::move(description)) {}
  Plan plan;
  std::atomic<bool> abort{false};
  bool running = false;  // JavaScript thread only
};

namespace {

Napi::Object to_object(const Napi::Value& value, const char* name) {
  if (!value.IsObject())
    throw to_js_error(value.Env(), "MBOK_INVALID_ARGUMENT", "'" + std::string(name) + "' must be an object");
  return value.As<Napi::Object>();
}

Napi::Array to_array(const Napi::Value& value, const char* name) {
  if (!value.IsArray())
    throw to_js_error(value.Env(), "MBOK_INVALID_ARGUMENT", "'" + std::string(name) + "' must be an array");
  return value.As<Napi::Array>();
}

std::vector<int32_t> to_indices(const Napi::Value& value, const char* name) {
  const Napi::Array array = to_array(value, name);
  std::vector<int32_t> indices;  // grows while reading: a getter may change the array's length
  for (uint32_t i = 0; i < array.Length(); ++i)
    indices.push_back(static_cast<int32_t>(to_integer(array.Get(i), name, -1, INT32_MAX)));
  return indices;
}

std::vector<double> to_doubles(const Napi::Value& value, const char* name) {
  const Napi::Array array = to_array(value, name);
  std::vector<double> numbers;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value entry = array.Get(i);
    if (!entry.IsNumber())
      throw to_js_error(value.Env(), "MBOK_INVALID_ARGUMENT", "'" + std::string(name) + "' must hold numbers");
    numbers.push_back(entry.As<Napi::Number>().DoubleValue());
  }
  return numbers;
}

TensorDescription to_tensor(const Napi::Object& object) {
  const Napi::Env env = object.Env();
  TensorDescription tensor;
  const Napi::Value buffer = object.Get("buffer");
  if (!buffer.IsNull()) {
    const BufferHandle* const handle = BufferHandle::from(buffer);
    if (handle == nullptr)
      throw to_js_error(env, "MBOK_INVALID_ARGUMENT", "a tensor's 'buffer' must be a NativeBuffer or null");
    tensor.block = handle->block(env);
  }
  tensor.offset = static_cast<size_t>(to_integer(object.Get("offset"), "offset"));
  tensor.rows = to_integer(object.Get("rows"), "rows", kOpenRows);
  tensor.cols = to_integer(object.Get("cols"), "cols");
  tensor.type =
      static_cast<TensorType>(to_integer(object.Get("type"), "type", 0, static_cast<int64_t>(kLastTensorType)));
  return tensor;
}

OperationDescription to_operation(const Napi::Object& object) {
  OperationDescription operation;
  const Napi::Value name = object.Get("name");
  if (!name.IsString()) throw to_js_error(object.Env(), "MBOK_INVALID_ARGUMENT", "'name' must be a string");
  operation.name = name.As<Napi::String>().Utf8Value();
  operation.inputs = to_indices(object.Get("inputs"), "inputs");
  operation.outputs = to_indices(object.Get("outputs"), "outputs");
  operation.attributes = to_doubles(object.Get("attributes"), "attributes");
  operation.phase =
      static_cast<Phase>(to_integer(object.Get("phase"), "phase", 0, static_cast<int64_t>(Phase::kLastMicroBatch)));
  return operation;
}

PlanDescription to_description(const Napi::Value& value) {
  const Napi::Object object = to_object(value, "description");
  PlanDescription description;
  description.arena_bytes = static_cast<size_t>(to_integer(object.Get("arenaBytes"), "arenaBytes"));
  description.max_rows = to_integer(object.Get("maxRows"), "maxRows", 1);
  const Napi::Array tensors = to_array(object.Get("tensors"), "tensors");
  for (uint32_t i = 0; i < tensors.Length(); ++i)
    description.tensors.push_back(to_tensor(to_object(tensors.Get(i), "tensors")));
  const Napi::Array operations = to_array(object.Get("operations"), "operations");
  for (uint32_t i = 0; i < operations.Length(); ++i)
    description.operations.push_back(to_operation(to_object(operations.Get(i), "operations")));
  return description;
}

Scalars to_scalars(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array ||
      value.As<Napi::TypedArray>().ElementLength() != kScalarCount)
    throw to_js_error(value.Env(), "MBOK_INVALID_ARGUMENT",
                      "'scalars' must be a Float64Array of " + std::to_string(kScalarCount) + " numbers");
  const auto array = value.As<Napi::Float64Array>();
  return {array[0], array[1], array[2], array[3], array[4], array[5], array[6], array[7], array[8], array[9],
          array[10]};
}

// Runs a plan on a libuv worker thread; resolves to true on completion, to false after an abort.
class Run : public Napi::AsyncWorker {
 public:
  Run(Napi::Env env, std::shared_ptr<PlanHandle::State> state, const Scalars& scalars)
      : Napi::AsyncWorker(env), state_(std::move(state)), scalars_(scalars), deferred_(env) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      result_ = state_->plan.run(scalars_, state_->abort);
    } catch (const Error& error) {
      code_ = error.code();
      SetError(error.what());
    } catch (const std::bad_alloc&) {
      code_ = "MBOK_OUT_OF_MEMORY";
      SetError("out of memory");
    } catch (const std::exception& error) {
      code_ = "MBOK_INTERNAL";
      SetError(error.what());
    }
  }

  void OnOK() override {
    state_->running = false;
    deferred_.Resolve(Napi::Boolean::New(Env(), result_ == RunResult::kCompleted));
  }

  void OnError(const Napi::Error& error) override {
    state_->running = false;
    deferred_.Reject(to_js_error(Env(), code_, error.Message()).Value());
  }

 private:
  std::shared_ptr<PlanHandle::State> state_;
  Scalars scalars_;
  Napi::Promise::Deferred deferred_;
  RunResult result_ = RunResult::kCompleted;
  const char* code_ = "MBOK_INTERNAL";
};

}  // namespace

Napi::Function PlanHandle::define(Napi::Env env) {
  return DefineClass(env, "NativePlan",
                     {InstanceAccessor<&PlanHandle::scratch_bytes>("scratchBytes"),
                      InstanceMethod<&PlanHandle::seconds>("seconds"), InstanceMethod<&PlanHandle::run>("run"),
                      InstanceMethod<&PlanHandle::abort>("abort"), InstanceMethod<&PlanHandle::dispose>("dispose")});
}

PlanHandle::PlanHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PlanHandle>(info) {
  state_ = guarded(info.Env(), [&] { return std::make_shared<State>(to_description(info[0])); });
}

Napi::Value PlanHandle::scratch_bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), state_ ? static_cast<double>(state_->plan.scratch_bytes()) : 0.0);
}

Napi::Value PlanHandle::seconds(const Napi::CallbackInfo& info) {
  if (!state_) throw to_js_error(info.Env(), "MBOK_DISPOSED", "this plan has been disposed");
  if (state_->running) throw to_js_error(info.Env(), "MBOK_BUSY", "this plan is running");
  const std::vector<double>& seconds = state_->plan.seconds();
  Napi::Float64Array array = Napi::Float64Array::New(info.Env(), seconds.size());
  for (size_t i = 0; i < seconds.size(); ++i) array[i] = seconds[i];
  return array;
}

Napi::Value PlanHandle::run(const Napi::CallbackInfo& info) {
  if (!state_) throw to_js_error(info.Env(), "MBOK_DISPOSED", "this plan has been disposed");
  if (state_->running) throw to_js_error(info.Env(), "MBOK_BUSY", "this plan is already running");
  const Scalars scalars = to_scalars(info[0]);
  state_->abort = false;
  auto* worker = new Run(info.Env(), state_, scalars);  // deletes itself
  const Napi::Promise promise = worker->promise();
  state_->running = true;
  worker->Queue();
  return promise;
}

void PlanHandle::abort(const Napi::CallbackInfo&) {
  if (state_) state_->abort = true;
}

void PlanHandle::dispose(const Napi::CallbackInfo&) {
  if (state_) state_->abort = true;
  state_.reset();
}

}  // namespace mbok::addon
