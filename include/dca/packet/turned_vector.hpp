// A vector of a few pairs of features at any position: added to rows, and multiplied with queries.
#pragma once

#include <cmath>

#include "dca/packet/rotation.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// Pairs of a row's features, and what it takes to turn them to a position: the angles of the 16 positions of a group,
/// and of the 16 groups of a block of 256. Those of a block come from std::cos and std::sin, all others by adding
/// angles. Refers to memory of its maker's.
template <class T>
struct TurnedVector {
  static constexpr Index group = 16, groups = 16, block = group * groups;
  static constexpr Index multiple = 16;  // that the pairs are padded to
  static_assert(group % packet_size<T> == 0 && multiple % packet_size<T> == 0);

  Index count = 0;   // of pairs
  Index padded = 0;  // count in whole packets: pairs beyond are zero
  // By pair:
  const Index* first_feature = nullptr;
  const Index* second_feature = nullptr;
  const double* first = nullptr;
  const double* second = nullptr;
  const T* frequency = nullptr;
  // Cosines, sines and angles.
  const T* near = nullptr;           // of the positions of a group: [group][3][padded]
  const T* far = nullptr;            // of the groups of a block: [groups][3][padded]
  const T* near_of_pairs = nullptr;  // the same by pair: [count][3][group]
  const T* far_of_pairs = nullptr;   // [count][3][groups]

  static constexpr Index block_of(Index position) { return position & ~(block - 1); }
};

/// What a thread keeps of a TurnedVector: its turns to the beginning of some blocks. Memory that its owner clears where
/// the vector is another one.
template <class T>
struct TurnsOfBlocks {
  static constexpr Index kept = 4;  // blocks, by their number; a power of two

  /// Of one block.
  struct Turn {
    double *cosine, *sine;  // by pair
    T* angle;
    T *first, *second;  // the vector
  };

  Index blocks[kept] = {};
  bool known[kept] = {};
  double* doubles = nullptr;  // [kept][2][padded]
  T* numbers = nullptr;       // [kept][3][padded]

  void clear() { std::fill_n(known, kept, false); }
};

/// The turn to the beginning of a block.
template <class T>
typename TurnsOfBlocks<T>::Turn turn_of_block(const TurnedVector<T>& x, Index block, TurnsOfBlocks<T>& turns) {
  const Index slot = block / TurnedVector<T>::block & (TurnsOfBlocks<T>::kept - 1);
  double* const doubles = turns.doubles + slot * 2 * x.padded;
  T* const numbers = turns.numbers + slot * 3 * x.padded;
  const typename TurnsOfBlocks<T>::Turn turn{doubles, doubles + x.padded, numbers, numbers + x.padded,
                                             numbers + 2 * x.padded};
  if (turns.known[slot] && turns.blocks[slot] == block) return turn;
  turns.blocks[slot] = block;
  turns.known[slot] = true;
  std::fill(doubles, doubles + 2 * x.padded, 0.0);
  std::fill(numbers, numbers + 3 * x.padded, T{0});
  for (Index m = 0; m < x.count; ++m) {
    const double angle = static_cast<double>(block) * static_cast<double>(x.frequency[m]);
    const double cosine = std::cos(angle), sine = std::sin(angle);
    turn.cosine[m] = cosine;
    turn.sine[m] = sine;
    turn.angle[m] = static_cast<T>(angle);
    // Fused explicitly: the same bits wherever this is compiled.
    turn.first[m] = static_cast<T>(std::fma(x.first[m], cosine, -(x.second[m] * sine)));
    turn.second[m] = static_cast<T>(std::fma(x.second[m], cosine, x.first[m] * sine));
  }
  return turn;
}

/// A pair turned by an angle of this cosine and sine, and by a small one more, for the rounding of sums of angles; it
/// would not be seen in float.
template <class T>
EIGEN_ALWAYS_INLINE Pair<Packet<T>> turned_further(const Pair<Packet<T>>& x, const Packet<T>& cosine,
                                                   const Packet<T>& sine, const Packet<T>& angle,
                                                   const Packet<T>& of_block, const Packet<T>& of_group,
                                                   const Packet<T>& rest) {
  Pair<Packet<T>> y = turned<Packet<T>>(x, cosine, sine);
  if constexpr (sizeof(T) > sizeof(float)) {
    const Packet<T> more = ei::psub(ei::psub(ei::psub(angle, of_block), of_group), rest);
    y = {ei::pmadd(ei::pnegate(more), y.second, y.first), ei::pmadd(more, y.first, y.second)};
  }
  return y;
}

/// Adds the vector, turned to a position, to a row.
template <class T>
void add_turned(const TurnedVector<T>& x, Index position, TurnsOfBlocks<T>& turns, T* row) {
  using V = TurnedVector<T>;
  constexpr int size = packet_size<T>;
  const Index block = V::block_of(position), in_block = position - block;
  const auto turn = turn_of_block(x, block, turns);
  const T* const far = x.far + in_block / V::group * 3 * x.padded;
  const T* const near = x.near + in_block % V::group * 3 * x.padded;
  const Packet<T> at = broadcast(static_cast<T>(position));
  alignas(64) T first[size], second[size];
  for (Index m = 0; m < x.count; m += size) {
    const auto cosine = [&](const T* of) DCA_INLINE { return load(of + m); };
    const auto sine = [&](const T* of) DCA_INLINE { return load(of + x.padded + m); };
    const auto angle = [&](const T* of) DCA_INLINE { return load(of + 2 * x.padded + m); };
    const Pair<Packet<T>> in_group =
        turned<Packet<T>>({load(turn.first + m), load(turn.second + m)}, cosine(far), sine(far));
    const Pair<Packet<T>> y = turned_further<T>(in_group, cosine(near), sine(near), ei::pmul(at, load(x.frequency + m)),
                                                load(turn.angle + m), angle(far), angle(near));
    store(first, y.first);
    store(second, y.second);
    for (Index k = 0; k < std::min<Index>(size, x.count - m); ++k) {
      row[x.first_feature[m + k]] += first[k];
      row[x.second_feature[m + k]] += second[k];
    }
  }
}

/// Adds the products of a query with the vector, turned to positions [position, position + count), to its scores. The
/// bits of a score depend on its query and position alone.
template <class T>
void add_turned_products(const TurnedVector<T>& x, Index position, Index count, const T* query, TurnsOfBlocks<T>& turns,
                         T* scores) {
  using V = TurnedVector<T>;
  constexpr int size = packet_size<T>;
  constexpr Index most_pairs = 8;  // at a time
  constexpr int together = 4;      // groups that share the loads of angles
  // A query's pair q times the vector's pair x, turned by a: (q1 x1 + q2 x2) cos a + (q2 x1 - q1 x2) sin a. That is the
  // second of (cross, dot), turned by a.
  alignas(64) T cross[most_pairs][V::groups], dot[most_pairs][V::groups], lanes[size];
  for (int lane = 0; lane < size; ++lane) lanes[lane] = static_cast<T>(lane);
  while (count > 0) {
    const Index block = V::block_of(position), from = position - block, to = std::min(from + count, V::block);
    const auto turn = turn_of_block(x, block, turns);
    for (Index first = 0; first < x.count; first += most_pairs) {
      const Index pairs = std::min(most_pairs, x.count - first);
      for (Index p = 0; p < pairs; ++p) {
        const Index m = first + p;
        const double q1 = static_cast<double>(query[x.first_feature[m]]);
        const double q2 = static_cast<double>(query[x.second_feature[m]]);
        const double of_sine = std::fma(q2, x.first[m], -(q1 * x.second[m]));
        const double of_cosine = std::fma(q1, x.first[m], q2 * x.second[m]);
        const double cosine = turn.cosine[m], sine = turn.sine[m];
        const Pair<Packet<T>> begin{broadcast(static_cast<T>(std::fma(of_sine, cosine, -(of_cosine * sine)))),
                                    broadcast(static_cast<T>(std::fma(of_cosine, cosine, of_sine * sine)))};
        const T* const far = x.far_of_pairs + m * 3 * V::groups;
        for (Index g = 0; g < V::groups; g += size) {
          const Pair<Packet<T>> y = turned<Packet<T>>(begin, load(far + g), load(far + V::groups + g));
          store(cross[p] + g, y.first);
          store(dot[p] + g, y.second);
        }
      }
      for (Index place = from - from % (together * V::group); place < to; place += together * V::group) {
        const Index g = place / V::group;
        for (Index k = 0; k < V::group; k += size) {
          Packet<T> sum[together];
          unroll<together>([&](int i) DCA_INLINE { sum[i] = broadcast(T{0}); });
          for (Index p = 0; p < pairs; ++p) {
            const T* const near = x.near_of_pairs + (first + p) * 3 * V::group + k;
            const Packet<T> cosine = load(near), sine = load(near + V::group);
            unroll<together>([&](int i) DCA_INLINE {
              const Packet<T> of_sine = broadcast(cross[p][g + i]), of_cosine = broadcast(dot[p][g + i]);
              if constexpr (sizeof(T) > sizeof(float)) {
                const T begin = static_cast<T>(block + place + i * V::group + k);
                const Packet<T> at = ei::padd(broadcast(begin), load(static_cast<const T*>(lanes)));
                const T* const far = x.far_of_pairs + ((first + p) * 3 + 2) * V::groups;
                const Pair<Packet<T>> y = turned_further<T>(
                    {of_sine, of_cosine}, cosine, sine, ei::pmul(at, broadcast(x.frequency[first + p])),
                    broadcast(turn.angle[first + p]), broadcast(far[g + i]), load(near + 2 * V::group));
                sum[i] = ei::padd(sum[i], y.second);
              } else {
                sum[i] = ei::pmadd(of_sine, sine, ei::pmadd(of_cosine, cosine, sum[i]));
              }
            });
          }
          unroll<together>([&](int i) DCA_INLINE {
            const Index begin = place + i * V::group + k;
            T* const to_add = scores + (begin - from);
            if (begin >= from && begin + size <= to) {
              ei::pstoreu(to_add, ei::padd(ei::ploadu<Packet<T>>(to_add), sum[i]));
            } else {
              alignas(64) T some[size];
              store(some, sum[i]);
              for (Index lane = std::max<Index>(from - begin, 0); lane < std::min<Index>(size, to - begin); ++lane) {
                to_add[lane] += some[lane];
              }
            }
          });
        }
      }
    }
    scores += to - from;
    position += to - from;
    count -= to - from;
  }
}

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
