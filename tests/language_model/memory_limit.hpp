// A bound on what a test may allocate.
#pragma once

#include <cstddef>

#include "support/sanitized.hpp"

// Sanitizers reserve terabytes of addresses: with them, their own limit on an allocation has to do.
#if defined(__linux__) && !defined(DCA_TEST_SANITIZED)
#define DCA_LM_LIMITS_MEMORY 1
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#endif

namespace dca_lm_test {

/// Until the end of its scope allocations beyond `bytes` more than now throw std::bad_alloc, where the system can do
/// that: touched or not, as it is addresses that are counted.
class MemoryLimit {
 public:
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

#ifdef DCA_LM_LIMITS_MEMORY
  explicit MemoryLimit(std::size_t bytes) {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    ::getrlimit(RLIMIT_AS, &before_);
    rlimit limited = before_;
    limited.rlim_cur = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + bytes;
    if (pages > 0 && (before_.rlim_cur == RLIM_INFINITY || limited.rlim_cur < before_.rlim_cur)) {
      ::setrlimit(RLIMIT_AS, &limited);
    }
  }
  ~MemoryLimit() { ::setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
#else
  explicit MemoryLimit(std::size_t) {}
#endif
};

}  // namespace dca_lm_test
