// What a cache holds of a token, and how far that may be from what was put in.
#pragma once

#include <dca/dca.hpp>

#include "fuzz/target.hpp"
#include "support/reference.hpp"

namespace dca_fuzz {

using dca::Index;

/// The largest magnitude that decides over the rounding of feature d of a row stored as E.
template <class E>
double largest_of_group(const std::vector<double>& row, std::size_t d) {
  std::size_t first = 0, last = row.size();
  if constexpr (std::is_same_v<E, dca::Int4>) {
    first = d / 32 * 32;
    last = first + 32;
  } else if constexpr (!std::is_same_v<E, dca::Int8>) {
    first = d;
    last = d + 1;
  }
  double largest = 0;
  for (std::size_t k = first; k < last; ++k) {
    if (!std::isfinite(row[k])) return row[k];
    largest = std::max(largest, std::abs(row[k]));
  }
  return largest;
}

/// How far a number may be stored off, at `size` of its group; 0 for E whose rounding is in the bound of the
/// arithmetic.
template <class E>
double storage_step(double size) {
  if constexpr (std::is_same_v<E, dca::Int8>) return size / 254 * 1.001;
  if constexpr (std::is_same_v<E, dca::Int4>) return size / 14 * 1.001;
  if constexpr (std::is_same_v<E, Eigen::half>) return size * std::ldexp(1.0, -11) + std::ldexp(1.0, -25);
  if constexpr (std::is_same_v<E, Eigen::bfloat16>) return size * std::ldexp(1.0, -8);
  return 0;
}

/// A row in the order in which it lies.
template <class E>
std::vector<double> read_row(const dca::RowRun<E>& run, std::size_t features) {
  require(run.count >= 1, "a run without rows");
  std::vector<double> stored(features);
  dca::RowStorage<E>::decode(run.row(0), static_cast<Index>(features), stored.data());
  return stored;
}

/// Rotated rows lie with the first features of all pairs in front, then the second ones: from there to the order of the
/// pairing, or the way back.
inline std::vector<double> reordered(const std::vector<double>& row, std::size_t pairs, bool interleaved,
                                     bool to_storage) {
  std::vector<double> other = row;
  for (std::size_t m = 0; interleaved && m < pairs; ++m) {
    for (std::size_t k = 0; k < 2; ++k) {
      const std::size_t apart = m + k * pairs, together = 2 * m + k;
      other[to_storage ? apart : together] = row[to_storage ? together : apart];
    }
  }
  return other;
}

/// Whether a stored row is `wanted`, but for what storing as E rounds and for `error` of the row's norm in rotation.
template <class E>
void check_stored(const std::vector<double>& stored, const std::vector<double>& wanted, double error) {
  double norm = 0;
  for (const double x : wanted) norm += std::isfinite(x) ? x * x : 0.0;
  const double turned = error * std::sqrt(norm);
  for (std::size_t d = 0; d < wanted.size(); ++d) {
    const double size = largest_of_group<E>(wanted, d);
    if (!std::isfinite(size)) {
      require(!std::isfinite(stored[d]), "stored as finite: what was not");
      continue;
    }
    const double off = std::abs(stored[d] - wanted[d]), allowed = storage_step<E>(size) + 2 * turned;
    require(off <= allowed, "stored off by " + std::to_string(off) + ", allowed " + std::to_string(allowed));
  }
}

}  // namespace dca_fuzz
