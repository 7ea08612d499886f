#include "errors.hpp"

#include <cstring>
#include <new>
#include <system_error>

namespace dca::c {
namespace {

// Of plain bytes: it needs no memory, and nothing is destroyed when a thread or the library goes. The longest message
// is that of detail::fail.
thread_local char last_error[1024];

dca_status remember(dca_status status, const char* message) noexcept {
  std::strncpy(last_error, message, sizeof last_error - 1);
  return status;
}

}  // namespace

dca_status status_of_exception() noexcept {
  try {
    throw;
  } catch (const std::invalid_argument& error) {
    return remember(DCA_INVALID_ARGUMENT, error.what());
  } catch (const std::bad_alloc&) {
    return remember(DCA_OUT_OF_MEMORY, "dca: out of memory");
  } catch (const std::length_error&) {  // more elements than memory could ever hold
    return remember(DCA_OUT_OF_MEMORY, "dca: out of memory");
  } catch (const std::system_error& error) {
    return remember(DCA_SYSTEM_ERROR, error.what());
  } catch (const std::exception& error) {
    return remember(DCA_UNKNOWN_ERROR, error.what());
  } catch (...) {
    return remember(DCA_UNKNOWN_ERROR, "dca: unknown error");
  }
}

}  // namespace dca::c

extern "C" const char* dca_last_error() { return dca::c::last_error; }
