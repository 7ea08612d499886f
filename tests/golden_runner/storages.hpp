// The storage types and the ways to compute a golden case through them.
#pragma once

#include "golden_runner/storage_error.hpp"

namespace dca_test {

template <class T>
struct Path {
  const char* name;
  std::vector<GoldenOutputs<T>> (*run)(const GoldenProblem<T>&);
};

/// A storage type and the paths through it.
template <class T>
struct Storage {
  const char* name;
  KeyValueType type;
  Path<T> paths[5];
};

template <class T, class E>
constexpr Storage<T> storage_of(const char* name, KeyValueType type) {
  return {name,
          type,
          {{"cached", cached_path<T, E>},
           {"chunked", chunked_path<T, E>},
           {"decode", decode_path<T, E>},
           {"paged", paged_path<T, E>},
           {"ragged", ragged_path<T, E>}}};
}

template <class T>
const Storage<T> storages[] = {
    storage_of<T, T>("", KeyValueType::scalar), storage_of<T, Eigen::half>("half", KeyValueType::half),
    storage_of<T, Eigen::bfloat16>("bfloat16", KeyValueType::bfloat16),
    storage_of<T, dca::Int8>("int8", KeyValueType::int8), storage_of<T, dca::Int4>("int4", KeyValueType::int4)};

}  // namespace dca_test
