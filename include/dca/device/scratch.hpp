// Memory that a call works in: from the caller's Eigen device, or from a workspace that the caller keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "dca/device/help_desk.hpp"
#include "dca/tensor/index.hpp"

namespace dca {

namespace detail {

/// Bytes aligned for the widest packet and the cache line. Much of it lies on huge pages where the system grants them:
/// a cache that is read from front to back then comes half as fast again, because addresses need fewer look-ups.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  /// Throws std::bad_alloc.
  explicit AlignedBytes(Index bytes) : bytes_(bytes), alignment_(bytes < 2 * huge_page ? cache_line : huge_page) {
    memory_ = static_cast<std::byte*>(
        ::operator new(static_cast<std::size_t>(bytes), std::align_val_t(static_cast<std::size_t>(alignment_))));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // Only whole pages are the block's own. A refusal changes nothing but the speed.
    if (alignment_ == huge_page)
      ::madvise(memory_, static_cast<std::size_t>(bytes / huge_page * huge_page), MADV_HUGEPAGE);
#endif
  }
  ~AlignedBytes() {
    if (memory_ != nullptr) ::operator delete(memory_, std::align_val_t(static_cast<std::size_t>(alignment_)));
  }

  /// What was moved from is empty, and says so.
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

}  // namespace detail

/// Memory that calls work in, kept from one to the next, so that a call which needs no more than one before it takes
/// none. It grows to the largest need and stays; one workspace serves one call at a time.
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

  /// Where the library's calls find helpers.
  detail::HelpDeskOwner& help() { return help_; }

 private:
  detail::AlignedBytes memory_;
  detail::HelpDeskOwner help_;
};

namespace detail {

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

  bool has_memory() const { return memory_ != nullptr; }
  /// Bytes dealt out so far.
  Index used() const { return used_; }

 private:
  std::byte* memory_;
  Index used_ = 0;
};

/// Memory for the length of a scope, aligned as an Arena deals it out: from `workspace` where there is one, else from
/// the device's allocator, which gets it back. Throws std::bad_alloc.
template <class Device>
class Scratch {
 public:
  Scratch(const Device& device, Workspace* workspace, Index bytes) : device_(device), workspace_(workspace) {
    const Index with_slack = bytes + Arena::alignment;
    std::byte* memory = nullptr;
    if (workspace != nullptr) {
      memory = workspace->reserve(with_slack);
    } else {
      taken_ = device.allocate(static_cast<std::size_t>(with_slack));
      if (taken_ == nullptr) throw std::bad_alloc();
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
  /// The workspace's, or one for the length of the scope.
  HelpDeskOwner& help() { return workspace_ != nullptr ? workspace_->help() : help_; }

 private:
  const Device& device_;
  Workspace* workspace_;
  HelpDeskOwner help_;
  void* taken_ = nullptr;
  std::byte* data_ = nullptr;
};

}  // namespace detail
}  // namespace dca
