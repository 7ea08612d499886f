// From exceptions to what C can take.
#pragma once

#include <dca/c/dca.h>

#include <dca/compiled.hpp>

namespace dca::c {

using detail::fail;
using detail::Text;
using detail::to_text;

/// To be called where an exception has been caught: its status. Keeps its message for dca_last_error.
dca_status status_of_exception() noexcept;

/// Runs f, and turns what it throws into a status.
template <class F>
dca_status guarded(const F& f) noexcept {
  try {
    f();
    return DCA_OK;
  } catch (...) {
    return status_of_exception();
  }
}

/// Throws std::invalid_argument where a pointer is null.
inline void check_given(const char* argument, const void* pointer, const char* allowed) {
  if (pointer == nullptr) fail(argument, "NULL", allowed);
}

/// Writes what f() returns to `to`, which must not be null.
template <class X, class F>
dca_status write_result(const char* argument, X* to, const F& f) noexcept {
  return guarded([&] {
    check_given(argument, to, "must point to where the result goes");
    *to = f();
  });
}

}  // namespace dca::c
