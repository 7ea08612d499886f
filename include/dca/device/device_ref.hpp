// The caller's Eigen device by reference, whatever its type.
#pragma once

#include <concepts>
#include <functional>
#include <limits>
#include <memory>

#include "dca/device/executor.hpp"
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

/// What calls need of a device: its threads and its allocator. The device must outlive it.
class DeviceRef {
 public:
  DeviceRef(const Executor& executor) : device_(&executor) {
    if (executor.pool == nullptr || executor.schedule == nullptr) return;
    threads_ = executor.threads;
    pool_ = executor.pool;
    schedule_ = [](const void* place, HelperControl* control) {
      const auto& threads = *static_cast<const Executor*>(place);
      const auto help = [](void* waiting) { static_cast<HelperControl*>(waiting)->help(); };
      if (!threads.schedule(threads.pool, help, control)) throw std::bad_alloc();
    };
  }

  template <class Device>
  requires(!std::same_as<Device, DeviceRef>) DeviceRef(const Device& device) : device_(std::addressof(device)) {
    if constexpr (ThreadedDevice<Device>) {
      threads_ = device.numThreads();
      if constexpr (requires { device.getPool()->NumThreads(); }) {
        threads_ = std::min<Index>(threads_, Index{device.getPool()->NumThreads()} + 1);
      }
      pool_ = std::to_address(device.getPool());
      schedule_ = [](const void* place, HelperControl* control) {
        static_cast<const Device*>(place)->getPool()->Schedule([control] { control->help(); });
      };
    }
    if constexpr (requires { device.deallocate(device.allocate(1)); }) {
      allocate_ = [](const void* place, std::size_t bytes) -> void* {
        return static_cast<const Device*>(place)->allocate(bytes);
      };
      deallocate_ = [](const void* place, void* memory) { static_cast<const Device*>(place)->deallocate(memory); };
    }
  }

  /// Threads that may work at once, the calling thread included.
  Index threads() const { return std::max<Index>(1, threads_); }
  /// Null where the device has no threads.
  const void* pool() const { return pool_; }
  /// Schedules one helper on the pool. Throws what the pool throws.
  void schedule(HelperControl* control) const { schedule_(device_, control); }

  /// Throws std::bad_alloc.
  void* allocate(std::size_t bytes) const {
    if (allocate_ == nullptr) return ::operator new(bytes);
    void* const memory = allocate_(device_, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }
  void deallocate(void* memory) const {
    if (deallocate_ == nullptr) return ::operator delete(memory);
    deallocate_(device_, memory);
  }

 private:
  const void* device_;
  const void* pool_ = nullptr;
  Index threads_ = 1;
  void (*schedule_)(const void*, HelperControl*) = nullptr;
  void* (*allocate_)(const void*, std::size_t) = nullptr;  // null: operator new, as the next operator delete
  void (*deallocate_)(const void*, void*) = nullptr;
};

}  // namespace dca::detail
