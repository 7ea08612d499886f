// The ways to compute a golden case through caches.
#pragma once

#include "golden_runner/paths.hpp"

namespace dca_test {

/// How the keys and values of a path are stored.
enum class KeyValueType { scalar, half, bfloat16, int8, int4 };

/// Whether features of that many can be stored so.
inline bool stores(KeyValueType type, std::int64_t features) {
  return type != KeyValueType::int4 || features % dca::Int4::group == 0;
}

/// All tokens in one append, all queries in one call.
template <class T, class E>
std::vector<GoldenOutputs<T>> cached_path(const GoldenProblem<T>& problem);

/// Append and attend in pieces of growing odd sizes; in even rows of the same, on a cache that grows.
template <class T, class E>
std::vector<GoldenOutputs<T>> chunked_path(const GoldenProblem<T>& problem);

/// One token at a time; then a few at a time, as speculative decoding does, with the surplus taken back each time.
template <class T, class E>
std::vector<GoldenOutputs<T>> decode_path(const GoldenProblem<T>& problem);

/// A paged cache with several block sizes, most of which do not divide chunk_len. Throws std::runtime_error where bits
/// differ from cached_path's.
template <class T, class E>
std::vector<GoldenOutputs<T>> paged_path(const GoldenProblem<T>& problem);

/// The batch as a ragged one, among sequences that have no queries, no tokens at all, or are longer; paged, and (where
/// E is T) dense. Throws std::runtime_error where paged bits differ from cached_path's.
template <class T, class E>
std::vector<GoldenOutputs<T>> ragged_path(const GoldenProblem<T>& problem);

/// By the compiled operator, dense, through a contiguous and a paged cache. Throws std::runtime_error where bits of
/// caches differ from `templated`, what cached_path gives. Where dca::kernels is linked.
template <class T>
std::vector<GoldenOutputs<T>> compiled_path(const GoldenProblem<T>& problem, KeyValueType type,
                                            const GoldenOutputs<T>& templated);

}  // namespace dca_test
