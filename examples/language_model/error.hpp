// The one exception of the program.
#pragma once

#include <stdexcept>

namespace dca_lm {

/// What a file, a text or an option asked for and cannot have.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace dca_lm
