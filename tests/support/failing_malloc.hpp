// Allocations of the whole program, counted and refused on demand: glibc's malloc, with a count before it.
#pragma once

namespace dca_test {

/// Where allocations cannot be counted, without glibc or under a sanitizer that stands before malloc itself, skips the
/// running test and returns false.
bool allocations_are_counted();

/// Allocations granted or refused so far, on all threads.
long allocations();

/// Those granted and not freed yet.
long live_allocations();

/// While it lives, `count` more allocations are granted and all others refused.
class GrantedAllocations {
 public:
  explicit GrantedAllocations(long count);
  ~GrantedAllocations();
  GrantedAllocations(const GrantedAllocations&) = delete;
  GrantedAllocations& operator=(const GrantedAllocations&) = delete;
};

}  // namespace dca_test
