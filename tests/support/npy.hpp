// Reader of NumPy's .npy files.
#pragma once

#include <string>

#include "support/array.hpp"

namespace dca_test {

/// Reads a .npy file of format version 1, 2 or 3 with little-endian float32 or float64 elements in C order, of any rank.
/// Throws std::runtime_error "<path>: <what is wrong>" for anything else: a missing file, a wrong magic or header,
/// Fortran order, other element types, and data that is shorter or longer than the shape says.
Array read_npy(const std::string& path);

}  // namespace dca_test
