// Which handles are in use, and what is behind them.
#pragma once

#include <cstdint>

#include "errors.hpp"

namespace dca::c {

enum class Kind : std::uint64_t { attention = 1, cache, paged_cache, pool, threads, workspace, choices };

/// A handle is no address: it is a number that no two handles share, made of its kind, of how many were made before it,
/// and of its place in a table. So one that was destroyed, or that never was a handle, is told from one in use without
/// a look at memory that may be gone.
using HandleNumber = std::uint64_t;

/// Enters an object. Throws std::bad_alloc, without it.
HandleNumber enter(Kind kind, void* object);
/// The object of a handle. Takes no lock. Throws std::invalid_argument unless it is of this kind and in use.
void* look_up(const char* argument, Kind kind, HandleNumber handle);
/// As look_up; the handle is no longer in use. Of several threads that do so at once, one succeeds.
void* take_out(const char* argument, Kind kind, HandleNumber handle);

}  // namespace dca::c
