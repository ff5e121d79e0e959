// The process' one pool of compute threads. The calling thread works too; idle workers spin briefly and then sleep.
//
// Determinism: a body receives task indices, never a share of the thread count, so that the arithmetic of a task and
// the order of every reduction are the same for 1, 2, 3… threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace mbok {

class ThreadPool {
 public:
  // The shared pool: MBOK_THREADS threads, by default the physical cores available to the process (affinity mask and
  // cgroup quota respected). Never destroyed, so that process.exit in the middle of a run is harmless.
  static ThreadPool& shared();

  // Threads that take part in parallel_for, the caller included.
  int threads() const { return threads_; }

  // Calls body(task, worker) once for every task in [0, tasks) and returns when all are done. worker is in
  // [0, threads()) and no two bodies run with the same worker at once: it indexes per-thread scratch. Bodies must not
  // throw and must not call parallel_for. Calls from different threads take turns.
  template <class Body>
  void parallel_for(int64_t tasks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(tasks, [](void* context, int64_t task, int worker) { (*static_cast<Plain*>(context))(task, worker); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  explicit ThreadPool(int threads);  // for tests; leaks its workers, like the shared one
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

 private:
  struct State;
  void run(int64_t tasks, void (*body)(void*, int64_t, int), void* context);
  int threads_;
  State* state_;
};

}  // namespace mbok
