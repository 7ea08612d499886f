// Runs tasks on the caller's Eigen device, with or without threads.
#pragma once

#include <exception>

#include "dca/device/device_ref.hpp"
#include "dca/device/function_ref.hpp"

namespace dca::detail {

/// Threads to use for `tasks` tasks, the calling thread included.
inline Index worker_count(const DeviceRef& device, Index tasks) {
  return std::max<Index>(1, std::min(device.threads(), tasks));
}

/// body(worker, task) of a call.
using TaskBody = FunctionRef<void(Index, Index)>;

/// Tasks that several threads take one by one, until none is left or one has thrown.
class SharedTasks {
 public:
  SharedTasks(Index tasks, TaskBody body) : tasks_(tasks), body_(body) {}

  void work(Index worker) noexcept {
    try {
      for (Index task = next_++; task < tasks_; task = next_++) body_(worker, task);
    } catch (...) {
      next_ = tasks_;
      if (!failed_.exchange(true)) failure_ = std::current_exception();
    }
  }

  /// Rethrows the first exception. To be called when all workers are done.
  void rethrow() const {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

 private:
  Index tasks_;
  TaskBody body_;
  std::atomic<Index> next_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;  // first exception of a task
};

/// Schedules `helpers` tasks on the device's pool. Where the pool has no memory for one, there are fewer helpers; the
/// work gets done all the same.
inline void schedule_helpers(const DeviceRef& device, HelperControl& control, Index helpers) {
  try {
    for (; helpers > 0; --helpers) device.schedule(&control);
  } catch (...) {
    control.cancel(helpers);
  }
}

/// Calls body(worker, task) for each task in [0, tasks), begun in ascending order; `worker` is in [0, workers), and
/// never in two calls at once. The calling thread is worker 0. It waits only for helpers that have started, so it may
/// itself be a thread of a pool whose other threads are all busy. After body throws no further task begins, and the
/// first exception is rethrown when all workers are done. Allocates only the control block of `owner`: once, and again
/// where the pool changes while tasks of the old one are pending.
inline void run_tasks(const DeviceRef& device, HelperControlOwner& owner, Index workers, Index tasks, TaskBody body) {
  HelperControl* const control = workers > 1 && device.pool() != nullptr ? owner.control(device.pool()) : nullptr;
  if (control == nullptr) {
    for (Index task = 0; task < tasks; ++task) body(0, task);
    return;
  }
  SharedTasks shared(tasks, body);
  const auto work = [](void* call, Index worker) { static_cast<SharedTasks*>(call)->work(worker); };
  schedule_helpers(device, *control, control->begin(work, &shared, workers - 1));
  shared.work(0);
  control->finish();
  shared.rethrow();
}

}  // namespace dca::detail
