// What messages say of files, and of strings that come from them.
#pragma once

#include <string>

#include "error.hpp"
#include "program/printable.hpp"

namespace dca_lm {

using program::printable;

/// What `call` returns. An Error that it throws begins with the name, as that of a file.
template <class Call>
auto naming(const std::string& name, const Call& call) -> decltype(call()) {
  try {
    return call();
  } catch (const Error& error) {
    throw Error(printable(name) + ": " + error.what());
  }
}

}  // namespace dca_lm
