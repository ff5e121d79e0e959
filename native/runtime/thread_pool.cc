#include "runtime/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "runtime/error.h"

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>

#include <vector>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mbok {
namespace {

// Time that an idle worker polls before it sleeps. It is longer than the gap between two operations of a plan and too
// short to matter for power.
constexpr auto kSpin = std::chrono::microseconds(60);
constexpr int kMaxThreads = 256;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#if defined(__linux__)

// Reads up to two integers from a file and returns how many there are.
int read_integers(const char* path, long long* first, long long* second) {
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return 0;
  const int read = std::fscanf(file, "%lld %lld", first, second);
  std::fclose(file);
  return read;
}

// Returns the CPUs of the cgroup's quota, version 2 or 1, rounded up; kMaxThreads without a quota.
int quota_cpus() {
  long long quota = 0, period = 0, unused = 0;
  if (read_integers("/sys/fs/cgroup/cpu.max", &quota, &period) != 2 &&
      (read_integers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota, &unused) != 1 ||
       read_integers("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period, &unused) != 1))
    return kMaxThreads;
  if (quota <= 0 || period <= 0) return kMaxThreads;
  return static_cast<int>((quota + period - 1) / period);
}

// Counts the distinct (package, core) pairs among the CPUs of the process' affinity mask. Two hyper-threads share one
// core's multipliers, so the second adds nothing to a compute-bound product.
int physical_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return static_cast<int>(std::thread::hardware_concurrency());
  std::set<std::pair<int, int>> cores;
  int logical = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    ++logical;
    int id[2] = {-1, -1};
    const char* names[2] = {"physical_package_id", "core_id"};
    for (int i = 0; i < 2; ++i) {
      const std::string path =
          "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/" + std::string(names[i]);
      if (std::FILE* file = std::fopen(path.c_str(), "r")) {
        if (std::fscanf(file, "%d", &id[i]) != 1) id[i] = -1;
        std::fclose(file);
      }
    }
    if (id[1] < 0) return logical > 0 ? CPU_COUNT(&set) : 1;
    cores.insert({id[0], id[1]});
  }
  return static_cast<int>(cores.size());
}

int default_threads() { return std::min(physical_cores(), quota_cpus()); }

#elif defined(__APPLE__)

// Counts performance cores: an efficiency core finishes its equal share last, and the others would wait for it.
int default_threads() {
  for (const char* name : {"hw.perflevel0.physicalcpu", "hw.physicalcpu"}) {
    int cores = 0;
    size_t size = sizeof cores;
    if (sysctlbyname(name, &cores, &size, nullptr, 0) == 0 && cores > 0) return cores;
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

#elif defined(_WIN32)

// Counts the physical cores that the process may use. Windows numbers processors in groups of up to 64. A process on one
// group uses the cores of its affinity mask; on several, all their cores, since the system spreads threads over them.
int default_threads() {
  const int logical = static_cast<int>(std::thread::hardware_concurrency());
  USHORT groups[64], count = 64;
  DWORD_PTR mask = 0, system = 0;
  DWORD bytes = 0;
  if (!GetProcessGroupAffinity(GetCurrentProcess(), &count, groups)) return logical;
  GetProcessAffinityMask(GetCurrentProcess(), &mask, &system);
  GetLogicalProcessorInformationEx(RelationProcessorCore, nullptr, &bytes);
  std::vector<char> buffer(bytes);
  const auto at = [&](DWORD offset) {
    return reinterpret_cast<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(buffer.data() + offset);
  };
  if (bytes == 0 || !GetLogicalProcessorInformationEx(RelationProcessorCore, at(0), &bytes)) return logical;
  int cores = 0;
  for (DWORD offset = 0; offset < bytes; offset += at(offset)->Size) {
    const GROUP_AFFINITY& core = at(offset)->Processor.GroupMask[0];
    const bool member = std::find(groups, groups + count, core.Group) != groups + count;
    if (member && (count > 1 || (core.Mask & mask) != 0)) ++cores;
  }
  return cores > 0 ? cores : logical;
}

#else

int default_threads() { return static_cast<int>(std::thread::hardware_concurrency()); }

#endif

int wanted_threads() {
  const char* text = std::getenv("MBOK_THREADS");
  if (text == nullptr || *text == '\0') return std::max(1, std::min(default_threads(), kMaxThreads));
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0' || value < 1 || value > kMaxThreads)
    throw Error("MBOK_INVALID_ARGUMENT",
                "MBOK_THREADS must be an integer from 1 to 256, got '" + std::string(text) + "'");
  return static_cast<int>(value);
}

}  // namespace

// One atomic word holds the state of the current parallel_for: its round number, whether workers may still enter, and
// how many are inside. The caller closes the gate when no task is left and waits only for the workers inside. A worker
// that the operating system has not scheduled yet delays nobody.
namespace gate {
constexpr uint64_t kInside = 0xffff;      // mask: count of workers inside
constexpr uint64_t kClosed = 1ull << 16;  // too late to enter
constexpr int kRoundShift = 17;
uint64_t round_of(uint64_t word) { return word >> kRoundShift; }
}  // namespace gate

struct ThreadPool::State {
  std::mutex turn;  // one parallel_for at a time

  void (*body)(void*, int64_t, int) = nullptr;
  void* context = nullptr;
  int64_t tasks = 0;
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<uint64_t> word{gate::kClosed};

  std::mutex sleep;
  std::condition_variable wake;
  int sleeping = 0;  // guarded by `sleep`

  void work(int worker) {
    for (;;) {
      const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks) return;
      body(context, task, worker);
    }
  }

  bool is_new(uint64_t seen) const { return gate::round_of(word.load(std::memory_order_acquire)) != seen; }

  void wait_for_round_after(uint64_t seen) {
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    while (!is_new(seen)) {
      for (int i = 0; i < 32 && !is_new(seen); ++i) relax();
      if (std::chrono::steady_clock::now() < deadline) continue;
      std::unique_lock<std::mutex> lock(sleep);
      ++sleeping;
      wake.wait(lock, [&] { return is_new(seen); });
      --sleeping;
    }
  }

  // Enters the current round; returns false when it is already over.
  bool enter(uint64_t* seen) {
    uint64_t now = word.load(std::memory_order_acquire);
    for (;;) {
      *seen = gate::round_of(now);
      if (now & gate::kClosed) return false;
      if (word.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel)) return true;
    }
  }

  void worker_main(int worker) {
    uint64_t seen = 0;
    for (;;) {
      wait_for_round_after(seen);
      if (!enter(&seen)) continue;
      work(worker);
      word.fetch_sub(1, std::memory_order_release);
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads), state_(new State) {
  for (int worker = 1; worker < threads; ++worker)
    std::thread([state = state_, worker] { state->worker_main(worker); }).detach();
}

ThreadPool& ThreadPool::shared() {
  static ThreadPool* pool = new ThreadPool(wanted_threads());
  return *pool;
}

void ThreadPool::run(int64_t tasks, void (*body)(void*, int64_t, int), void* context) {
  if (tasks <= 0) return;
  std::lock_guard<std::mutex> turn(state_->turn);
  if (tasks == 1 || threads_ == 1) {
    for (int64_t task = 0; task < tasks; ++task) body(context, task, 0);
    return;
  }
  State& s = *state_;
  s.body = body;
  s.context = context;
  s.tasks = tasks;
  s.next.store(0, std::memory_order_relaxed);
  bool anyone_asleep;
  {
    std::lock_guard<std::mutex> lock(s.sleep);
    const uint64_t round = gate::round_of(s.word.load(std::memory_order_relaxed)) + 1;
    s.word.store(round << gate::kRoundShift, std::memory_order_release);
    anyone_asleep = s.sleeping > 0;
  }
  if (anyone_asleep) s.wake.notify_all();
  s.work(0);
  s.word.fetch_or(gate::kClosed, std::memory_order_acq_rel);
  // The last bodies are still running. Spin, then yield the core in case the machine is oversubscribed.
  for (int spins = 0; (s.word.load(std::memory_order_acquire) & gate::kInside) != 0; ++spins) {
    if (spins < 4096)
      relax();
    else
      std::this_thread::yield();
  }
}

}  // namespace mbok
