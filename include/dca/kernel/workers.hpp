// Running tasks and taking scratch on the caller's Eigen device, whichever it is.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <new>
#include <unsupported/Eigen/CXX11/Tensor>

#include "dca/tensor/index.hpp"

namespace dca::detail {

/// A device with threads. Eigen::ThreadPoolDevice is one, but may not be named: it is incomplete unless the user asked
/// for threads before the first include of Eigen's Tensor. Other devices run on the calling thread.
template <class Device>
concept ThreadedDevice = requires(const Device& device, void (*block)(Eigen::Index, Eigen::Index)) {
  device.parallelFor(Eigen::Index{}, Eigen::TensorOpCost(0, 0, 0), block);
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

/// Calls body(worker, task) for each task in [0, tasks), tasks in ascending order on whichever worker is free; `worker`
/// is in [0, workers) and never in two calls at once. body must not throw: it may run in a pool that cannot carry it.
template <class Device, class Body>
void run_tasks(const Device& device, Index workers, Index tasks, const Body& body) {
  if constexpr (ThreadedDevice<Device>) {
    if (workers > 1) {
      std::atomic<Index> next{0};
      const auto work = [&](Eigen::Index first, Eigen::Index last) {
        for (Index worker = first; worker < last; ++worker) {
          for (Index task = next++; task < tasks; task = next++) body(worker, task);
        }
      };
      // A cost so high that every worker becomes a block of its own.
      device.parallelFor(workers, Eigen::TensorOpCost(0, 0, 1e9), work);
      return;
    }
  }
  for (Index task = 0; task < tasks; ++task) body(Index{0}, task);
}

/// Memory from the device's allocator, given back at the end of the scope. Throws std::bad_alloc.
template <class Device>
class DeviceMemory {
 public:
  DeviceMemory(const Device& device, Index bytes)
      : device_(device), memory_(device.allocate(static_cast<std::size_t>(bytes))) {
    if (memory_ == nullptr && bytes > 0) throw std::bad_alloc();
  }
  ~DeviceMemory() { device_.deallocate(memory_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(memory_); }

 private:
  const Device& device_;
  void* memory_;
};

/// Deals out aligned arrays from one piece of memory; with none, it only counts.
class Arena {
 public:
  static constexpr Index alignment = 64;  // a cache line, and the widest packet

  explicit Arena(std::byte* memory = nullptr) : memory_(memory) {}

  template <class T>
  T* take(Index count) {
    std::byte* const place = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += round_up(count * static_cast<Index>(sizeof(T)), alignment);
    return reinterpret_cast<T*>(place);
  }

  /// Bytes dealt out so far.
  Index used() const { return used_; }

  static std::byte* aligned(std::byte* memory) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    return memory + (alignment - static_cast<Index>(address % alignment)) % alignment;
  }

 private:
  std::byte* memory_;
  Index used_ = 0;
};

}  // namespace dca::detail
