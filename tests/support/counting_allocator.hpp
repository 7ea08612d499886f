// The scratch that calls take, counted.
#pragma once

#include <algorithm>
#include <cstddef>
#include <dca/dca.hpp>

namespace dca_test {

/// Counts the bytes of the largest allocation.
class CountingAllocator : public Eigen::Allocator {
 public:
  void* allocate(size_t bytes) const override {
    largest = std::max(largest, bytes);
    return Eigen::internal::aligned_malloc(bytes);
  }
  void deallocate(void* memory) const override { Eigen::internal::aligned_free(memory); }
  mutable std::size_t largest = 0;
};

}  // namespace dca_test
