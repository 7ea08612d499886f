// What query rows have come to after some of their keys, and how such states are merged.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "dca/kernel/machine/online_softmax.hpp"

namespace dca::detail {

template <class T>
constexpr Index whole_packets(Index features) {
  return round_up(features, packet_size<T>);
}

/// States of some rows: each row's softmax, and sums [rows][width] of 2^(logit - max) * value, features in whole
/// packets.
template <class T>
struct RowStates : SoftmaxState<T> {
  using SoftmaxState<T>::max;
  using SoftmaxState<T>::total;
  T* sums;
  Index width;

  /// Elements in memory.
  static Index size(Index rows, Index width) { return rows * (width + 2); }
  RowStates(T* memory, Index row_count, Index row_width)
      : SoftmaxState<T>{memory + row_count * row_width, memory + row_count * (row_width + 1)},
        sums(memory),
        width(row_width) {}

  /// Those from row `first` on.
  RowStates from(Index first) const {
    RowStates rest = *this;
    rest.max += first;
    rest.total += first;
    rest.sums += first * width;
    return rest;
  }

  /// No keys yet, for the first `count` rows.
  void clear(Index count) const {
    std::fill_n(max, count, -std::numeric_limits<T>::infinity());
    std::fill_n(total, count, T{0});
    std::fill_n(sums, count * width, T{0});
  }
};

/// Row `row` of states [0, count), `state(k)` the k-th, in order. Writes the sums [width], aligned.
template <class T, class State>
RowSoftmax<T> merge_states(Index count, Index row, const State& state, T* sums) {
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  RowSoftmax<T> merged{lowest, T{0}};
  for (Index k = 0; k < count; ++k) merged.max = std::max(merged.max, state(k).max[row]);
  const T base = merged.max == lowest ? T{0} : merged.max;  // -inf - -inf would be NaN
  const Index width = state(0).width;
  std::fill_n(sums, width, T{0});
  for (Index k = 0; k < count; ++k) {
    const RowStates<T> piece = state(k);
    if (piece.total[row] == T{0}) continue;  // it saw no keys
    const T weight = static_cast<T>(std::exp2(static_cast<double>(piece.max[row]) - static_cast<double>(base)));
    merged.total += weight * piece.total[row];
    const T* const more = piece.sums + row * width;
    for (Index d = 0; d < width; d += packet_size<T>) {
      store(sums + d, ei::pmadd(broadcast(weight), ei::ploadu<Packet<T>>(more + d), load(sums + d)));
    }
  }
  return merged;
}

}  // namespace dca::detail
