// Whether a sanitizer that makes everything slower, and takes the address space, is compiled in.
#pragma once

#if defined(__has_feature)
#define DCA_LM_HAS_FEATURE(name) __has_feature(name)
#else
#define DCA_LM_HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || DCA_LM_HAS_FEATURE(address_sanitizer) || \
    DCA_LM_HAS_FEATURE(thread_sanitizer)
#define DCA_LM_SANITIZED 1
#endif

namespace dca_lm_test {

#ifdef DCA_LM_SANITIZED
constexpr bool is_sanitized = true;
#else
constexpr bool is_sanitized = false;
#endif

}  // namespace dca_lm_test
