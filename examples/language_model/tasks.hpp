// Tasks on the threads of an executor.
#pragma once

#include <algorithm>
#include <atomic>
#include <dca/device/executor.hpp>
#include <exception>
#include <unsupported/Eigen/CXX11/ThreadPool>

namespace dca_lm {

/// body(task) for the tasks 0, 1, ..., on this thread and others of the executor. Not to be called from a thread of
/// its pool. The first exception of a task (such as bad_alloc) is rethrown here once running tasks have ended;
/// later tasks are skipped. In the pool's threads nothing else is done that could throw, which would end the program:
/// Eigen's parallelFor takes memory there.
template <class Body>
void for_tasks(const dca::Executor& executor, dca::Index tasks, const Body& body) {
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
  const dca::Index others = std::clamp<dca::Index>(tasks - 1, 0, executor.threads - 1);
  Eigen::Barrier ended(static_cast<unsigned>(others));
  auto help = [&work, &ended] {
    work();
    ended.Notify();
  };
  const auto run = [](void* argument) { (*static_cast<decltype(help)*>(argument))(); };
  for (dca::Index k = 0; k < others; ++k) {
    bool scheduled = false;
    try {
      scheduled = executor.schedule(executor.pool, run, &help);
    } catch (...) {  // fewer threads do as well
    }
    if (!scheduled) ended.Notify();
  }
  work();
  ended.Wait();
  if (error) std::rethrow_exception(error);
}

}  // namespace dca_lm
