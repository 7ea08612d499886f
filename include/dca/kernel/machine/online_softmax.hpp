// Softmax of a stream of score tiles, a running maximum and sum per query row (Milakov and Gimelshein 2018).
#pragma once

#include <limits>

#include "dca/packet/exponential.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// The softmax of a row, in units of log2: the largest logit so far, -inf before the first, and the sum of
/// 2^(logit - max).
template <class T>
struct RowSoftmax {
  T max;
  T total;
};

/// Those of some rows, such as the lanes of a panel.
template <class T>
struct SoftmaxState {
  T* max;
  T* total;

  RowSoftmax<T> operator[](Index row) const { return {max[row], total[row]}; }
};

/// The keys that each lane sees of a score tile, [first, last), counted from the tile's first key; held as T, which is
/// exact for the length of a tile. Null where all lanes see all keys.
template <class T>
struct LaneRanges {
  const T* first = nullptr;
  const T* last = nullptr;

  explicit operator bool() const { return first != nullptr; }

  /// Mask of the packet of lanes from `lane` on that see a key.
  EIGEN_ALWAYS_INLINE Packet<T> operator()(Index lane, Index key) const {
    const Packet<T> index = broadcast(static_cast<T>(key));
    return ei::pand(ei::pcmp_le(load(first + lane), index), ei::pcmp_lt(index, load(last + lane)));
  }
};

/// cap * tanh(s / cap) of logits s, all in units of log2. The division is done here and not on the queries, which would
/// underflow with a large cap.
template <class T>
struct SoftCap {
  T log2;   // the cap; 0: none
  T slope;  // 2 / cap: the argument of exp2_tanh per unit of logit

  /// `cap` in natural units, as checked_softcap returns it.
  explicit SoftCap(double cap)
      : log2(static_cast<T>(cap * std::numbers::log2e)), slope(cap > 0 ? static_cast<T>(2 / cap) : T{0}) {}

  explicit operator bool() const { return log2 != T{0}; }

  EIGEN_ALWAYS_INLINE Packet<T> operator()(const Packet<T>& logit) const {
    return ei::pmul(exp2_tanh<T>(ei::pmul(logit, broadcast(slope))), broadcast(log2));
  }
};

/// Turns raw scores [count][lanes], of `vectors` packets of lanes, into masked logits, in place: soft-cap first, then
/// -inf where a lane does not see a key. most[lane] = the largest of them.
template <class T>
void mask_scores(T* scores, Index count, int vectors, LaneRanges<T> ranges, SoftCap<T> cap, T* most) {
  constexpr int size = packet_size<T>;
  const Packet<T> hidden = broadcast(-std::numeric_limits<T>::infinity());
  for (Index lane = 0; lane < vectors * size; lane += size) {
    Packet<T> max = hidden;
    T* place = scores + lane;
    for (Index key = 0; key < count; ++key, place += vectors * size) {
      Packet<T> logit = load(place);
      if (cap) logit = cap(logit);
      if (ranges) logit = ei::pselect(ranges(lane, key), logit, hidden);
      store(place, logit);
      max = ei::pmax(max, logit);
    }
    store(most + lane, max);
  }
}

/// One step of the online softmax over logits [count][lanes] (log2 units), `vectors` packets of lanes, with the largest
/// logit of each lane in `most`: replaces logits by 2^(logit - new max), updates the state, and writes the factor by
/// which earlier sums of each lane must be multiplied.
///
/// A lane that has seen only -inf keeps max = -inf and gives zeros. A masked key gives an exact 0, so that a tile of
/// which a lane sees no key changes nothing for that lane.
template <class T>
void online_softmax(T* logits, Index count, int vectors, const T* most, SoftmaxState<T> state, T* factor) {
  constexpr int size = packet_size<T>;
  const Packet<T> lowest = broadcast(-std::numeric_limits<T>::infinity());
  for (Index lane = 0; lane < vectors * size; lane += size) {
    const Packet<T> earlier = load(state.max + lane), max = ei::pmax(earlier, load(most + lane));
    // -inf - -inf would be NaN.
    const Packet<T> base = ei::pselect(ei::pcmp_eq(max, lowest), broadcast(T{0}), max);
    const Packet<T> shrink = exp2_nonpositive<T>(ei::psub(earlier, base));
    Packet<T> sum = broadcast(T{0});
    T* place = logits + lane;
    DCA_UNROLL_BY_4
    for (Index key = 0; key < count; ++key, place += vectors * size) {
      const Packet<T> probability = exp2_nonpositive<T>(ei::psub(load(place), base));
      sum = ei::padd(sum, probability);
      store(place, probability);
    }
    store(factor + lane, shrink);
    store(state.max + lane, max);
    store(state.total + lane, ei::pmadd(load(state.total + lane), shrink, sum));
  }
}

/// One step of the online softmax of a single query row, over logits [first, last) of a tile that lie side by side
/// (otherwise as online_softmax, soft-cap as in mask_scores). Other logits of the packets that this range touches
/// become 0. Returns the factor by which earlier sums must be multiplied.
template <class T>
T softmax_row(T* logits, Index first, Index last, SoftCap<T> cap, SoftmaxState<T> state, Index row) {
  T &max = state.max[row], &total = state.total[row];
  constexpr int size = packet_size<T>;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  const Index begin = first - first % size, end = round_up(last, size);
  if (cap) {
    for (Index key = begin; key < end; key += size) store(logits + key, cap(load(logits + key)));
  }
  std::fill(logits + begin, logits + first, lowest);
  std::fill(logits + last, logits + end, lowest);
  Packet<T> most = broadcast(max);
  for (Index key = begin; key < end; key += size) most = ei::pmax(most, load(logits + key));
  const T new_max = ei::predux_max(most);
  const T base = new_max == lowest ? T{0} : new_max;  // -inf - -inf would be NaN
  Packet<T> sum = broadcast(T{0});
  for (Index key = begin; key < end; key += size) {
    const Packet<T> probability = exp2_nonpositive<T>(ei::psub(load(logits + key), broadcast(base)));
    sum = ei::padd(sum, probability);
    store(logits + key, probability);
  }
  const T factor = ei::pfirst(exp2_nonpositive<T>(broadcast(static_cast<T>(max - base))));
  max = new_max;
  total = total * factor + ei::predux(sum);
  return factor;
}

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
