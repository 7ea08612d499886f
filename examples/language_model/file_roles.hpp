// What the program makes of the keys and tensors of a model's file.
#pragma once

#include "gguf.hpp"

namespace dca_lm {

/// Throws Error where a file of a Llama model with so many layers has a key or tensor that would change its results and
/// that the program does not compute with: names it, its value and what is allowed. The table of all that it knows is
/// in file_roles.cpp.
void check_roles(const GgufFile& file, std::uint64_t layers);

}  // namespace dca_lm
