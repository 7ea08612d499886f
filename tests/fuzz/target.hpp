// What a fuzz target is, and how it says that it found something.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "fuzz/bytes.hpp"

/// One input. Returns 0; ends the program where something is wrong.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace dca_fuzz {

/// What is being tried: printed by `report`.
void trying(const std::string& what);

/// Prints what is wrong and ends the program, which is what a fuzzer looks for.
[[noreturn]] void report(const std::string& what);

inline void require(bool holds, const std::string& what) {
  if (!holds) report(what);
}

/// Whether `body` throws std::invalid_argument; any other exception is the caller's.
template <class Body>
bool refuses(const Body& body) {
  try {
    body();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

}  // namespace dca_fuzz
