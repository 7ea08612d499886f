// Tasks on the threads of a device.
#pragma once

#include <atomic>
#include <dca/dca.hpp>
#include <exception>

namespace dca_lm {

/// body(task) for the tasks 0, 1, ..., on the threads of the device. What a task throws, as std::bad_alloc, reaches the
/// caller when none runs any more: out of a thread of the pool it would end the program. Tasks that have not begun by
/// then are left out.
template <class Body>
void for_tasks(const Eigen::ThreadPoolDevice& device, dca::Index tasks, const Body& body) {
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  device.parallelFor(tasks, Eigen::TensorOpCost(0, 0, 1e9), [&](dca::Index first, dca::Index last) {
    for (dca::Index task = first; task < last && !failed; ++task) {
      try {
        body(task);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace dca_lm
