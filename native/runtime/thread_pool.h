// The process-wide pool of compute threads. The calling thread works too; idle workers spin briefly and then sleep.
//
// Determinism: a body receives task indices, never a share that depends on the thread count. The arithmetic of a task
// and the order of every reduction are therefore the same for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace mbok {

class ThreadPool {
 public:
  // Returns the shared pool of MBOK_THREADS threads. Default: the physical cores available to the process (affinity
  // mask and cgroup quota). It is never destroyed, so process.exit during a run is harmless.
  static ThreadPool& shared();

  // Number of threads that take part in parallel_for, including the caller.
  int threads() const { return threads_; }

  // Calls body(task, worker) once for every task in [0, tasks) and returns when all are done. No two bodies run with
  // the same worker in [0, threads()) at once, so it indexes per-thread scratch. Bodies must not throw and must not
  // call parallel_for. Calls from different threads are serialized.
  template <class Body>
  void parallel_for(int64_t tasks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        tasks, [](void* context, int64_t task, int worker) { (*static_cast<Plain*>(context))(task, worker); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  explicit ThreadPool(int threads);  // for tests; leaks its workers, like the shared pool
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

 private:
  struct State;
  void run(int64_t tasks, void (*body)(void*, int64_t, int), void* context);
  int threads_;
  State* state_;
};

}  // namespace mbok
