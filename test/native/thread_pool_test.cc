#include "runtime/thread_pool.h"

#include <atomic>
#include <thread>
#include <vector>

#include "test.h"

namespace mbok {
namespace {

TEST("the thread pool runs every task exactly once, whatever the counts") {
  // Pools are never destroyed. They stay reachable from here, or the leak checker would report the one without workers.
  static auto& pools = *new std::vector<ThreadPool*>;
  for (const int threads : {1, 2, 3, 7}) {
    pools.push_back(new ThreadPool(threads));
    ThreadPool& pool = *pools.back();
    for (const int64_t tasks : {0, 1, 2, 5, 64, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      std::atomic<bool> worker_in_range{true};
      pool.parallel_for(tasks, [&](int64_t task, int worker) {
        ++runs[static_cast<size_t>(task)];
        if (worker < 0 || worker >= threads) worker_in_range = false;
      });
      for (const auto& count : runs) CHECK(count == 1, std::to_string(count));
      CHECK(worker_in_range, "");
    }
  }
}

TEST("no two bodies of the thread pool share a worker at the same time") {
  ThreadPool pool(3);
  std::vector<std::atomic<int>> inside(3);
  std::atomic<bool> shared{false};
  for (int round = 0; round < 500; ++round)
    pool.parallel_for(20, [&](int64_t, int worker) {
      if (++inside[static_cast<size_t>(worker)] != 1) shared = true;
      --inside[static_cast<size_t>(worker)];
    });
  CHECK(!shared, "");
}

TEST("callers of the thread pool take turns") {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int round = 0; round < 300; ++round) pool.parallel_for(10, [&](int64_t task, int) { sum += task; });
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(sum == 4 * 300 * 45, std::to_string(sum));
}

}  // namespace
}  // namespace mbok
