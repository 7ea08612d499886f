// Running tasks on the caller's Eigen device, whichever it is.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <condition_variable>
#include <functional>
#include <mutex>

#include "dca/tensor/index.hpp"

namespace dca::detail {

/// A device with threads. Eigen::ThreadPoolDevice is one, but may not be named: it is incomplete unless the user asked
/// for threads before the first include of Eigen's Tensor. Other devices run on the calling thread.
template <class Device>
concept ThreadedDevice = requires(const Device& device, std::function<void()> work) {
  device.getPool()->Schedule(std::move(work));
  { device.numThreads() } -> std::convertible_to<int>;
};

/// Threads that the device offers for `tasks` tasks.
template <class Device>
Index worker_count(const Device& device, Index tasks) {
  if constexpr (ThreadedDevice<Device>) {
    return std::max<Index>(1, std::min<Index>(device.numThreads(), tasks));
  } else {
    return 1;
  }
}

/// Tasks that several threads take in turn until none is left.
template <class Body>
class SharedTasks {
 public:
  SharedTasks(Index tasks, Index helpers, const Body& body) : tasks_(tasks), busy_helpers_(helpers), body_(body) {}

  void work(Index worker) {
    for (Index task = next_++; task < tasks_; task = next_++) body_(worker, task);
  }

  void help() {
    work(++last_worker_);
    // Under the lock to the end: the one who waits may destroy this as soon as it is let go.
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--busy_helpers_ == 0) done_.notify_one();
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return busy_helpers_ == 0; });
  }

 private:
  Index tasks_, busy_helpers_;
  const Body& body_;
  std::atomic<Index> next_{0}, last_worker_{0};
  std::mutex mutex_;
  std::condition_variable done_;
};

/// Calls body(worker, task) for each task in [0, tasks), tasks in ascending order on whichever worker is free; `worker`
/// is in [0, workers) and never in two calls at once. The calling thread is worker 0. body must not throw: it may run
/// in a pool that cannot carry it. Takes no memory: a pointer fits into a std::function as it is.
template <class Device, class Body>
void run_tasks(const Device& device, Index workers, Index tasks, const Body& body) {
  if constexpr (ThreadedDevice<Device>) {
    if (workers > 1) {
      SharedTasks<Body> shared(tasks, workers - 1, body);
      for (Index helper = 1; helper < workers; ++helper) {
        device.getPool()->Schedule([pointer = &shared] { pointer->help(); });
      }
      shared.work(0);
      shared.wait();
      return;
    }
  }
  for (Index task = 0; task < tasks; ++task) body(Index{0}, task);
}

}  // namespace dca::detail
