// The functions of a part as values.
#pragma once

#include "dca/positions/chunk_part.hpp"

namespace dca {

/// The functions of a ChunkPart, with the layout's type erased.
struct PartFunctions {
  Index (*query_position)(const void* layout, Index i);
  Index (*key_position)(const void* layout, Index j);
  void (*keys)(const void* layout, Index first, Index count, KeyRange* to);  // of queries [first, first + count)
  /// Keys from j on, at least 1, whose positions follow one another; null: 1.
  Index (*key_run)(const void* layout, Index j) = nullptr;
};

namespace detail {

/// As PartFunctions has it.
template <ChunkPart Part>
constexpr auto key_run_of() -> Index (*)(const void*, Index) {
  if constexpr (requires(const typename Part::Layout& layout) { PlacementOf<Part>::type::run(layout, Index{0}); }) {
    return [](const void* layout, Index j) {
      return PlacementOf<Part>::type::run(*static_cast<const typename Part::Layout*>(layout), j);
    };
  } else {
    return nullptr;
  }
}

template <ChunkPart Part>
inline constexpr PartFunctions part_functions{
    [](const void* layout, Index i) {
      return Part::query_position(*static_cast<const typename Part::Layout*>(layout), i);
    },
    [](const void* layout, Index j) {
      return Part::key_position(*static_cast<const typename Part::Layout*>(layout), j);
    },
    [](const void* layout, Index first, Index count, KeyRange* to) {
      for (Index k = 0; k < count; ++k) {
        to[k] = Part::keys(*static_cast<const typename Part::Layout*>(layout), first + k);
      }
    },
    key_run_of<Part>()};

template <ChunkPart... Parts>
inline constexpr PartFunctions functions_of_parts[] = {part_functions<Parts>...};

}  // namespace detail
}  // namespace dca
