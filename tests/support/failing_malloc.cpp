#include "support/failing_malloc.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

#include "support/sanitized.hpp"
#include "support/skip.hpp"

#if defined(__GLIBC__) && !defined(DCA_TEST_SANITIZED)
#define DCA_TEST_COUNTS_ALLOCATIONS
#endif

namespace {
std::atomic<long> asked{0};
std::atomic<long> live{0};
std::atomic<long> granted{-1};  // before malloc has nothing more; -1: no end
}  // namespace

#ifdef DCA_TEST_COUNTS_ALLOCATIONS
namespace {

bool grant() {
  ++asked;
  long left = granted.load();
  while (left > 0 && !granted.compare_exchange_weak(left, left - 1)) {
  }
  return left != 0;
}

void* counted(void* memory) {
  if (memory != nullptr) ++live;
  return memory;
}

}  // namespace

// operator new comes here as well: it calls malloc, or aligned_alloc.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
void __libc_free(void* memory);

void* malloc(std::size_t bytes) noexcept { return grant() ? counted(__libc_malloc(bytes)) : nullptr; }
void* calloc(std::size_t count, std::size_t bytes) noexcept {
  return grant() ? counted(__libc_calloc(count, bytes)) : nullptr;
}
void* realloc(void* memory, std::size_t bytes) noexcept {
  if (!grant()) return nullptr;
  void* const moved = __libc_realloc(memory, bytes);
  if (memory == nullptr) return counted(moved);
  if (moved == nullptr && bytes == 0) --live;
  return moved;
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  return grant() ? counted(__libc_memalign(alignment, bytes)) : nullptr;
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
  void* const place = grant() ? counted(__libc_memalign(alignment, bytes)) : nullptr;
  if (place == nullptr) return ENOMEM;
  *memory = place;
  return 0;
}
void free(void* memory) noexcept {
  if (memory != nullptr) --live;
  __libc_free(memory);
}
}
#endif

namespace dca_test {

bool allocations_are_counted() {
#ifdef DCA_TEST_COUNTS_ALLOCATIONS
  return true;
#else
  skip("allocations are counted under glibc only, and not under sanitizers");
  return false;
#endif
}

long allocations() { return asked; }

long live_allocations() { return live; }

GrantedAllocations::GrantedAllocations(long count) { granted = count; }

GrantedAllocations::~GrantedAllocations() { granted = -1; }

}  // namespace dca_test
