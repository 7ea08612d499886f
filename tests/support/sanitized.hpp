// Whether a sanitizer that stands before malloc, takes the address space and makes everything slower is compiled in.
#pragma once

#if defined(__has_feature)
#define DCA_TEST_HAS_FEATURE(name) __has_feature(name)
#else
#define DCA_TEST_HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || DCA_TEST_HAS_FEATURE(address_sanitizer) || \
    DCA_TEST_HAS_FEATURE(thread_sanitizer) || DCA_TEST_HAS_FEATURE(memory_sanitizer)
#define DCA_TEST_SANITIZED
#endif

namespace dca_test {

#ifdef DCA_TEST_SANITIZED
constexpr bool is_sanitized = true;
#else
constexpr bool is_sanitized = false;
#endif

}  // namespace dca_test
