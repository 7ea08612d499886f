// Threads that calls may use, whoever has them.
#pragma once

#include <algorithm>
#include <type_traits>

#include "dca/tensor/index.hpp"

namespace dca {

/// Threads of the caller's that a call may use: those of a pool of any kind, or the calling thread alone. What it
/// refers to must outlive the calls that it is given to.
struct Executor {
  void* pool = nullptr;  // null: no other threads
  Index threads = 1;     // that may work at once, the calling thread included
  /// Has run(argument) called once by some thread of the pool, now or later; false where it cannot. A call waits only
  /// for what has begun to run, so it may itself be made from a thread of the pool.
  bool (*schedule)(void* pool, void (*run)(void* argument), void* argument) = nullptr;
};

/// The threads of an Eigen device, which must outlive calls.
template <class Device>
[[gnu::always_inline]] inline Executor executor_of(const Device& device) {
  if constexpr (requires { device.getPool()->NumThreads(); }) {
    using Pool = std::remove_reference_t<decltype(*device.getPool())>;
    const Index threads = std::min<Index>(device.numThreads(), Index{device.getPool()->NumThreads()} + 1);
    return {&*device.getPool(), threads, [](void* pool, void (*run)(void*), void* argument) {
              static_cast<Pool*>(pool)->Schedule([run, argument] { run(argument); });
              return true;
            }};
  } else {
    return {};
  }
}

}  // namespace dca
