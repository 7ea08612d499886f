// Running tasks on the caller's Eigen device, whichever it is.
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <memory>

#include "dca/device/help_desk.hpp"

namespace dca::detail {

/// A device with threads. Eigen::ThreadPoolDevice is one, but may not be named: it is incomplete unless the user asked
/// for threads before the first include of Eigen's Tensor. Other devices run on the calling thread.
template <class Device>
concept ThreadedDevice = requires(const Device& device, std::function<void()> work) {
  device.getPool()->Schedule(std::move(work));
  { device.numThreads() } -> std::convertible_to<int>;
};

/// Threads that the device offers for `tasks` tasks, the calling one among them.
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

/// Tasks that several threads take in turn until none is left, or one has thrown.
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

  /// When all workers are done.
  void rethrow() const {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

 private:
  Index tasks_;
  const Body& body_;
  std::atomic<Index> next_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;  // the first
};

/// Sends for threads of the device's pool. Without them all is done as well: where the pool has no memory for a task,
/// fewer come.
template <class Device>
void send_for_helpers(const Device& device, HelpDesk& desk, Index helpers) {
  try {
    for (; helpers > 0; --helpers) device.getPool()->Schedule([place = &desk] { place->help(); });
  } catch (...) {
    desk.excuse(helpers);
  }
}

/// Calls body(worker, task) for each task in [0, tasks), tasks in ascending order on whichever worker is free; `worker`
/// is in [0, workers) and never in two calls at once. The calling thread is worker 0, and waits for nobody who has not
/// begun: it may be one of the pool's, and all others busy. Where body throws, no task is begun any more, and the first
/// exception is thrown on when the others are done. Takes no memory but, once per `owner`, for the desk.
template <class Device, class Body>
void run_tasks([[maybe_unused]] const Device& device, [[maybe_unused]] HelpDeskOwner& owner, Index workers, Index tasks,
               const Body& body) {
  if constexpr (ThreadedDevice<Device>) {
    HelpDesk* const desk = workers > 1 ? owner.desk(std::to_address(device.getPool())) : nullptr;
    if (desk != nullptr) {
      using Tasks = SharedTasks<Body>;
      Tasks shared(tasks, body);
      const auto work = [](void* call, Index worker) { static_cast<Tasks*>(call)->work(worker); };
      send_for_helpers(device, *desk, desk->open(work, &shared, workers - 1));
      shared.work(0);
      desk->close();
      shared.rethrow();
      return;
    }
  }
  for (Index task = 0; task < tasks; ++task) body(Index{0}, task);
}

}  // namespace dca::detail
