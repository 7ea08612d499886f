// Tasks on the threads of a device.
#pragma once

#include <algorithm>
#include <atomic>
#include <dca/dca.hpp>
#include <exception>

namespace dca_lm {

/// body(task) for the tasks 0, 1, ..., on this thread and others of the device. Not to be called from a thread of the
/// device's pool. The first exception of a task (such as bad_alloc) is rethrown here once running tasks have ended;
/// later tasks are skipped. In the pool's threads nothing else is done that could throw, which would end the program:
/// Eigen's parallelFor takes memory there.
template <class Body>
void for_tasks(const Eigen::ThreadPoolDevice& device, dca::Index tasks, const Body& body) {
  std::atomic<dca::Index> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  const auto work = [&] {
    for (dca::Index task = next++; task < tasks && !failed; task = next++) {
      try {
        body(task);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  };
  const dca::Index others = std::clamp<dca::Index>(tasks - 1, 0, device.numThreads() - 1);
  Eigen::Barrier ended(static_cast<unsigned>(others));
  const auto help = [&work, &ended] {
    work();
    ended.Notify();
  };
  for (dca::Index k = 0; k < others; ++k) {
    try {
      device.getPool()->Schedule(help);
    } catch (...) {
      ended.Notify();  // fewer threads do as well
    }
  }
  work();
  ended.Wait();
  if (error) std::rethrow_exception(error);
}

}  // namespace dca_lm
