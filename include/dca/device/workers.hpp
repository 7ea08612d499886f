// Runs tasks on the caller's Eigen device, with or without threads.
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <memory>

#include "dca/device/helper_control.hpp"

namespace dca::detail {

/// A device with threads, such as Eigen::ThreadPoolDevice, which cannot be named here: it is incomplete unless
/// EIGEN_USE_THREADS was defined before the first include of Eigen's Tensor. Other devices run tasks on the calling
/// thread.
template <class Device>
concept ThreadedDevice = requires(const Device& device, std::function<void()> work) {
  device.getPool()->Schedule(std::move(work));
  { device.numThreads() } -> std::convertible_to<int>;
};

/// Threads to use for `tasks` tasks, the calling thread included.
template <class Device>
Index worker_count([[maybe_unused]] const Device& device, [[maybe_unused]] Index tasks) {
  if constexpr (ThreadedDevice<Device>) {
    Index threads = device.numThreads();
    if constexpr (requires { device.getPool()->NumThreads(); }) {
      threads = std::min<Index>(threads, Index{device.getPool()->NumThreads()} + 1);
    }
    return std::max<Index>(1, std::min(threads, tasks));
  } else {
    return 1;
  }
}

/// Tasks that several threads take one by one, until none is left or one has thrown.
template <class Body>
class SharedTasks {
 public:
  SharedTasks(Index tasks, const Body& body) : tasks_(tasks), body_(body) {}

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
  const Body& body_;
  std::atomic<Index> next_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;  // first exception of a task
};

/// Schedules `helpers` tasks on the device's pool. Where the pool has no memory for one, there are fewer helpers; the
/// work gets done all the same.
template <class Device>
void schedule_helpers(const Device& device, HelperControl& control, Index helpers) {
  try {
    for (; helpers > 0; --helpers) device.getPool()->Schedule([control = &control] { control->help(); });
  } catch (...) {
    control.cancel(helpers);
  }
}

/// Calls body(worker, task) for each task in [0, tasks), begun in ascending order; `worker` is in [0, workers), and
/// never in two calls at once. The calling thread is worker 0. It waits only for helpers that have started, so it may
/// itself be a thread of a pool whose other threads are all busy. After body throws no further task begins, and the
/// first exception is rethrown when all workers are done. Allocates only the control block of `owner`: once, and again
/// where the pool changes while tasks of the old one are pending.
template <class Device, class Body>
void run_tasks([[maybe_unused]] const Device& device, [[maybe_unused]] HelperControlOwner& owner, Index workers,
               Index tasks, const Body& body) {
  if constexpr (ThreadedDevice<Device>) {
    HelperControl* const control = workers > 1 ? owner.control(std::to_address(device.getPool())) : nullptr;
    if (control != nullptr) {
      using Tasks = SharedTasks<Body>;
      Tasks shared(tasks, body);
      const auto work = [](void* call, Index worker) { static_cast<Tasks*>(call)->work(worker); };
      schedule_helpers(device, *control, control->begin(work, &shared, workers - 1));
      shared.work(0);
      control->finish();
      shared.rethrow();
      return;
    }
  }
  for (Index task = 0; task < tasks; ++task) body(Index{0}, task);
}

}  // namespace dca::detail
