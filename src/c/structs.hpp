// Structs that may grow: a program and the library may have been compiled with headers of different versions.
#pragma once

#include <cstring>
#include <span>

#include "errors.hpp"

namespace dca::c {

/// Sizes of a struct in all versions of the header, in ascending order.
template <class Struct>
inline constexpr std::size_t sizes_of[] = {sizeof(Struct)};

// The first version's. One that grows gets its new size as well, and a specialisation of sizes_of.
static_assert(sizeof(dca_kernels) == 24 && sizeof(dca_executor) == 32 && sizeof(dca_rope_config) == 120);
static_assert(sizeof(dca_own_parts) == 40 && sizeof(dca_attention_config) == 72 && sizeof(dca_cache_config) == 48);
static_assert(sizeof(dca_selection) == 64 && sizeof(dca_options) == 336 && sizeof(dca_choice) == 72);
static_assert(sizeof(dca_key_offset_options) == 24);
// These cannot grow.
static_assert(sizeof(dca_tensor) == 80 && sizeof(dca_const_tensor) == 80 && sizeof(dca_block_table) == 24);
static_assert(sizeof(dca_key_range) == 16 && sizeof(dca_part) == 24 && sizeof(dca_chunk_config) == 16);

/// No struct is larger: what says so was not made with its macro.
inline constexpr std::size_t most_bytes = 4096;

/// The size that a struct gives. Throws std::invalid_argument unless it is one of `known`, ascending, or a later one.
inline std::size_t checked_size(const char* argument, const void* given, std::span<const std::size_t> known) {
  std::size_t size;
  std::memcpy(&size, given, sizeof size);
  for (const std::size_t one : known) {
    if (size == one) return size;
  }
  if (size < known.back() || size > most_bytes) {
    fail(argument, "struct_size " + to_text(size),
         "must be the struct's size, " + to_text(known.back()) + ", as its macro sets it");
  }
  return size;
}

/// Overwrites the defaults in `fields`, as large as the largest of `known`, with the fields of `given`. Throws
/// std::invalid_argument also where a later version's fields are not 0: they would ask for what is not there.
inline void read_fields(const char* argument, const void* given, std::span<const std::size_t> known, void* fields) {
  const std::size_t size = checked_size(argument, given, known);
  const auto* const bytes = static_cast<const unsigned char*>(given);
  for (std::size_t k = known.back(); k < size; ++k) {
    if (bytes[k] != 0) {
      fail(argument, "struct_size " + to_text(size) + " with fields that this library does not know",
           "such fields must be 0");
    }
  }
  std::memcpy(fields, given, std::min(size, known.back()));
}

/// A struct that the caller gives; `fields` are the defaults of what it does not have.
template <class Struct>
Struct read_struct(const char* argument, const Struct* given, Struct fields) {
  check_given(argument, given, "must point to a struct");
  read_fields(argument, given, sizes_of<Struct>, &fields);
  return fields;
}

/// Writes those of `fields` that the caller's struct has.
template <class Struct>
void write_struct(const char* argument, Struct* to, Struct fields) {
  check_given(argument, to, "must point to a struct");
  const std::size_t size = checked_size(argument, to, sizes_of<Struct>);
  fields.struct_size = size;
  std::memcpy(to, &fields, std::min(size, sizeof fields));
}

}  // namespace dca::c
