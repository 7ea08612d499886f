// Memory that a call works in: from the caller's Eigen device, or from a workspace that the caller keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "dca/device/device_ref.hpp"
#include "dca/tensor/index.hpp"

namespace dca {

namespace detail {

/// Bytes aligned for the widest packet and the cache line. Large blocks lie on huge pages where the system grants them:
/// reading a cache from front to back then takes fewer TLB misses.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  /// Throws std::bad_alloc.
  explicit AlignedBytes(Index bytes) : bytes_(bytes), alignment_(bytes < 2 * huge_page ? cache_line : huge_page) {
    memory_ = static_cast<std::byte*>(
        ::operator new(static_cast<std::size_t>(bytes), std::align_val_t(static_cast<std::size_t>(alignment_))));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // Only whole pages belong to this block alone. If the system refuses, only speed changes.
    if (alignment_ == huge_page)
      ::madvise(memory_, static_cast<std::size_t>(bytes / huge_page * huge_page), MADV_HUGEPAGE);
#endif
  }
  ~AlignedBytes() {
    if (memory_ != nullptr) ::operator delete(memory_, std::align_val_t(static_cast<std::size_t>(alignment_)));
  }

  /// A moved-from object is empty, with size 0.
  AlignedBytes(AlignedBytes&& other) noexcept { swap(other); }
  AlignedBytes& operator=(AlignedBytes&& other) noexcept {
    AlignedBytes(std::move(other)).swap(*this);
    return *this;
  }

  std::byte* data() const { return memory_; }
  Index size() const { return bytes_; }

 private:
  static constexpr Index cache_line = 64, huge_page = Index{2} << 20;

  void swap(AlignedBytes& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    std::swap(alignment_, other.alignment_);
  }

  std::byte* memory_ = nullptr;
  Index bytes_ = 0;
  Index alignment_ = cache_line;
};

class Scratch;

}  // namespace detail

/// Scratch memory kept from call to call: a call that needs no more than an earlier one allocates nothing. It never
/// shrinks. One workspace serves one call at a time.
class Workspace {
 public:
  /// At least `bytes` bytes. Throws std::bad_alloc.
  std::byte* reserve(Index bytes) {
    if (bytes > memory_.size()) {
      memory_ = {};  // first, or both would be held for a moment
      memory_ = detail::AlignedBytes(bytes);
    }
    return memory_.data();
  }

  /// Bytes held.
  Index bytes() const { return memory_.size(); }

 private:
  friend class detail::Scratch;

  detail::AlignedBytes memory_;
  detail::HelperControlOwner helpers_;
};

namespace detail {

/// Bump allocator of aligned arrays in one piece of memory; without memory it only counts bytes.
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

  bool has_memory() const { return memory_ != nullptr; }
  /// Bytes allocated so far.
  Index used() const { return used_; }

 private:
  std::byte* memory_;
  Index used_ = 0;
};

/// Scratch memory for one scope, aligned for an Arena: from `workspace` if given, else from the device's allocator and
/// freed at the end. Throws std::bad_alloc.
class Scratch {
 public:
  Scratch(const DeviceRef& device, Workspace* workspace, Index bytes) : device_(device), workspace_(workspace) {
    const Index with_slack = bytes + Arena::alignment;
    std::byte* memory = nullptr;
    if (workspace != nullptr) {
      memory = workspace->reserve(with_slack);
    } else {
      taken_ = device.allocate(static_cast<std::size_t>(with_slack));
      memory = static_cast<std::byte*>(taken_);
    }
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    data_ = memory + (Arena::alignment - static_cast<Index>(address % Arena::alignment)) % Arena::alignment;
  }
  ~Scratch() {
    if (taken_ != nullptr) device_.deallocate(taken_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::byte* data() const { return data_; }
  /// The workspace's, or one for this scope alone.
  HelperControlOwner& helpers() { return workspace_ != nullptr ? workspace_->helpers_ : helpers_; }

 private:
  DeviceRef device_;
  Workspace* workspace_;
  HelperControlOwner helpers_;
  void* taken_ = nullptr;
  std::byte* data_ = nullptr;
};

}  // namespace detail
}  // namespace dca
