// The register-tiled product: the only place where attention multiplies matrices.
#pragma once

#include <algorithm>
#include <limits>

#include "dca/kernel/packet.hpp"

#include "dca/kernel/packet_code_begin.hpp"

namespace dca::detail {

/// Where the left operand of a product lies: element (row r, step p) is data[r * row_stride + p * step_stride].
template <class T>
struct LeftOperand {
  const T* data;
  Index row_stride;
  Index step_stride;
};

/// sum[r][lane] = sum over p in [0, depth) of a(r, p) * b[p][lane] for `Rows` rows and `Vectors` packets of lanes, all
/// in registers until `finish(sum)` takes them.
///
/// b is [depth] x [Vectors * packet_size], dense and aligned. Per step Vectors loads and Rows broadcasts feed Rows *
/// Vectors fused multiply-adds. A lane's sum runs over p in ascending order and touches no other lane, so the result of
/// a query row does not depend on its neighbours.
template <class T, int Rows, int Vectors, class Finish>
EIGEN_ALWAYS_INLINE void multiply_tile(LeftOperand<T> a, const T* __restrict b, Index depth, Finish&& finish) {
  constexpr int size = packet_size<T>;
  Packet<T> sum[Rows][Vectors];
  unroll<Rows>([&](auto r) { unroll<Vectors>([&](auto v) { sum[r][v] = broadcast(T{0}); }); });
  const T* __restrict left = a.data;
  // Short sequences, whose tiles have many depths, are an eighth faster for it (Zen 3), long ones as fast.
  DCA_UNROLL_BY_4
  for (Index p = 0; p < depth; ++p) {
    Packet<T> right[Vectors];
    unroll<Vectors>([&](auto v) { right[v] = load_to_register(b + v * size); });
    unroll<Rows>([&](auto r) {
      const Packet<T> value = broadcast(left[r * a.row_stride]);
      unroll<Vectors>([&](auto v) { sum[r][v] = ei::pmadd(value, right[v], sum[r][v]); });
    });
    left += a.step_stride;
    b += Vectors * size;
  }
  finish(sum);
}

/// Calls f(first row, integral_constant rows) for `rows` rows cut into register tiles. The last two share what is left:
/// a tile of few rows has too few sums to keep the multipliers busy.
template <class F>
EIGEN_ALWAYS_INLINE void for_each_row_tile(Index rows, F&& f) {
  constexpr int full = register_tile.rows;
  for (Index first = 0; first < rows;) {
    const Index left = rows - first;
    const Index next = left >= 2 * full ? full : left > full ? (left + 1) / 2 : left;
    with_count<full>(static_cast<int>(next), [&](auto tile_rows) { f(first, tile_rows); });
    first += next;
  }
}

/// scores[key][lane] = <keys[key], queries[.][lane]> and most[lane], the largest of a lane: keys [count] rows of
/// `features`, dense; queries [features] x [lanes]. `before_tile()` is called before each register tile.
///
/// Not inlined, because g++ runs out of registers in large functions. Packets are compared here because multiply-adds
/// leave time for it.
template <class T, int Vectors, class BeforeTile>
EIGEN_DONT_INLINE void multiply_keys(const T* keys, Index count, Index features, const T* queries, T* __restrict scores,
                                     T* __restrict most, BeforeTile&& before_tile) {
  constexpr int size = packet_size<T>;
  std::fill_n(most, Vectors * size, -std::numeric_limits<T>::infinity());
  for_each_row_tile(count, [&](Index first, auto rows) {
    before_tile();
    const LeftOperand<T> left{keys + first * features, features, 1};
    T* const place = scores + first * Vectors * size;
    multiply_tile<T, rows, Vectors>(left, queries, features, [&](const auto& sum) {
      unroll<Vectors>([&](auto v) {
        Packet<T> max = load(most + v * size);
        unroll<rows>([&](auto r) {
          store(place + (r * Vectors + v) * size, sum[r][v]);
          max = ei::pmax(max, sum[r][v]);
        });
        store(most + v * size, max);
      });
    });
  });
}

/// sums[feature][lane] = sums[feature][lane] * factor[lane] + sum over keys of probabilities[key][lane] *
/// values[key][feature], for keys [first, last) of a tile packed by pack_values. `before_tile()` is called before each
/// register tile.
///
/// What is there already comes last: sums of a tile are rounded as small numbers, so that errors grow with the number
/// of tiles and not with that of keys.
template <class T, int Vectors, class BeforeTile>
EIGEN_DONT_INLINE void multiply_values(const T* values, Index tile_capacity, Index first, Index last, Index features,
                                       const T* probabilities, const T* __restrict factor, T* __restrict sums,
                                       BeforeTile&& before_tile) {
  constexpr int size = packet_size<T>;
  for_each_row_tile(features, [&](Index feature, auto rows) {
    before_tile();
    const LeftOperand<T> left{values + feature * tile_capacity + first * rows, 1, rows};
    T* const places = sums + feature * Vectors * size;
    multiply_tile<T, rows, Vectors>(left, probabilities, last - first, [&](const auto& sum) {
      unroll<rows>([&](auto r) {
        unroll<Vectors>([&](auto v) {
          T* const place = places + (r * Vectors + v) * size;
          store(place, ei::pmadd(load(place), load(factor + v * size), sum[r][v]));
        });
      });
    });
  });
}

/// As multiply_values, lane by lane only over the keys that the lane sees: for tiles with infinities or NaN among their
/// values, where the 0 of a masked probability would not silence them. The same bits as multiply_values elsewhere.
/// `visible(lane, key)` is the mask of a packet of lanes for a key counted from `first`.
template <class T, int Vectors, class Visible>
void multiply_visible_values(const T* values, Index tile_capacity, Index first, Index count, Index features,
                             const T* probabilities, const T* factor, T* sums, const Visible& visible) {
  constexpr int size = packet_size<T>;
  for_each_row_tile(features, [&](Index feature, auto rows) {
    const T* const tile = values + feature * tile_capacity + first * rows;
    for (int r = 0; r < rows; ++r) {
      for (int v = 0; v < Vectors; ++v) {
        T* const place = sums + ((feature + r) * Vectors + v) * size;
        Packet<T> sum = broadcast(T{0});
        for (Index key = 0; key < count; ++key) {
          const Packet<T> more =
              ei::pmadd(broadcast(tile[key * rows + r]), load(probabilities + (key * Vectors + v) * size), sum);
          sum = ei::pselect(visible(v * size, key), more, sum);
        }
        store(place, ei::pmadd(load(place), load(factor + v * size), sum));
      }
    }
  });
}

}  // namespace dca::detail

#include "dca/kernel/packet_code_end.hpp"
