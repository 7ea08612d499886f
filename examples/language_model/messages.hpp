// What messages say of files, and of strings that come from them.
#pragma once

#include <string>

#include "error.hpp"
#include "program/printable.hpp"

namespace dca_lm {

using program::printable;

/// What `call` returns. An Error that it throws names the file, too.
template <class Call>
auto naming_file(const std::string& path, const Call& call) -> decltype(call()) {
  try {
    return call();
  } catch (const Error& error) {
    throw Error(printable(path) + ": " + error.what());
  }
}

}  // namespace dca_lm
