// What a call refuses, as text to match.
#pragma once

#include <string>

#include "error.hpp"

namespace dca_lm_test {

/// The message of the dca_lm::Error that `call` throws, or "no error". Other exceptions pass: they fail a test.
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const dca_lm::Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace dca_lm_test
