// The one exception of the program.
#pragma once

#include <stdexcept>
#include <string>

namespace dca_lm {

/// What a file, a text or an option asked for and cannot have; what() starts with "dca_lm: ".
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error("dca_lm: " + message) {}
};

}  // namespace dca_lm
