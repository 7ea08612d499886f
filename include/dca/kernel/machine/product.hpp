// The register-tiled product: the only place where attention multiplies matrices.
#pragma once

#include <algorithm>
#include <limits>

#include "dca/packet/packet.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// Where the left operand of a product lies: element (row r, step p) is data[r * row_stride + p * step_stride].
template <class T>
struct LeftOperand {
  const T* data;
  Index row_stride;
  Index step_stride;
};

/// sum[r][lane] = sum over p in [0, depth) of a(r, p) * b[p][lane] for `Rows` rows and `Vectors` packets of lanes, all
/// in registers until they go to place [rows][lanes], and a lane's largest sum to `most`; or, where `factor` is given,
/// to place * factor + sum.
///
/// b is [depth] x [Vectors * packet_size], dense and aligned. Per step Vectors loads and Rows broadcasts feed Rows *
/// Vectors fused multiply-adds. A lane's sum runs over p in ascending order and touches no other lane, so the result of
/// a query row does not depend on its neighbours.
///
/// Not inlined, because g++ runs out of registers in large functions, and to be compiled once for both products.
/// Packets are compared here because multiply-adds leave time for it.
template <class T, int Rows, int Vectors>
EIGEN_DONT_INLINE void multiply_tile(const LeftOperand<T>& a, const T* __restrict b, Index depth, T* __restrict place,
                                     const T* factor, T* most) {
  constexpr int size = packet_size<T>;
  Packet<T> sum[Rows][Vectors];
  unroll<Rows>([&](int r) DCA_INLINE { unroll<Vectors>([&](int v) DCA_INLINE { sum[r][v] = broadcast(T{0}); }); });
  const T* __restrict left = a.data;
  const Index row_stride = a.row_stride, step_stride = a.step_stride;
  const auto step = [&]() DCA_INLINE {
    Packet<T> right[Vectors];
    unroll<Vectors>([&](int v) DCA_INLINE { right[v] = load_to_register(b + v * size); });
    unroll<Rows>([&](int r) DCA_INLINE {
      const Packet<T> value = broadcast(left[r * row_stride]);
      unroll<Vectors>([&](int v) DCA_INLINE { sum[r][v] = ei::pmadd(value, right[v], sum[r][v]); });
    });
    left += step_stride;
    b += Vectors * size;
  };
  if constexpr (Rows == register_tile.rows) {
    // Short sequences, whose tiles have many depths, are an eighth faster for it (Zen 3), long ones as fast.
    DCA_UNROLL_BY_4
    for (Index p = 0; p < depth; ++p) step();
  } else {
    for (Index p = 0; p < depth; ++p) step();
  }
  if (factor == nullptr) {
    unroll<Vectors>([&](int v) DCA_INLINE {
      Packet<T> max = load(most + v * size);
      unroll<Rows>([&](int r) DCA_INLINE {
        store(place + (r * Vectors + v) * size, sum[r][v]);
        max = ei::pmax(max, sum[r][v]);
      });
      store(most + v * size, max);
    });
  } else {
    unroll<Rows>([&](int r) DCA_INLINE {
      unroll<Vectors>([&](int v) DCA_INLINE {
        T* const to = place + (r * Vectors + v) * size;
        store(to, ei::pmadd(load(to), load(factor + v * size), sum[r][v]));
      });
    });
  }
}

/// Rows of the next register tile where `left` are left. The last two share what is left: a tile of few rows has too
/// few sums to keep the multipliers busy. Above four rows their number is even, so that there are fewer tiles to
/// compile.
constexpr Index next_tile_rows(Index left) {
  constexpr Index full = register_tile.rows;
  const Index share = left >= 2 * full ? full : left > full ? (left + 1) / 2 : left;
  return share > 4 ? share / 2 * 2 : share;
}

/// Calls f(first row, rows) for `rows` rows cut into register tiles.
template <class F>
EIGEN_ALWAYS_INLINE void for_each_row_tile(Index rows, F&& f) {
  for (Index first = 0; first < rows;) {
    const Index next = next_tile_rows(rows - first);
    f(first, next);
    first += next;
  }
}

/// Calls f(integral_constant rows) for a number of rows that next_tile_rows gives.
template <class F>
EIGEN_ALWAYS_INLINE void with_tile_rows(Index rows, F&& f) {
  static_assert(register_tile.rows == 4 || register_tile.rows == 8);
  if constexpr (register_tile.rows == 8) {
    if (rows == 8) return f(std::integral_constant<int, 8>{});
    if (rows == 6) return f(std::integral_constant<int, 6>{});
  }
  with_count<4>(static_cast<int>(rows), f);
}

/// What is called before each register tile of a product: nothing where it is null.
struct BeforeTile {
  void (*call)(void* context);
  void* context;

  EIGEN_ALWAYS_INLINE void operator()() const {
    if (call != nullptr) call(context);
  }
};

/// scores[key][lane] = <keys[key], queries[.][lane]> and most[lane], the largest of a lane: keys [count] rows of
/// `features`, dense; queries [features] x [lanes].
template <class T, int Vectors>
void multiply_keys(const T* keys, Index count, Index features, const T* queries, T* scores, T* most,
                   BeforeTile before_tile) {
  constexpr int lanes = Vectors * packet_size<T>;
  std::fill_n(most, lanes, -std::numeric_limits<T>::infinity());
  for_each_row_tile(count, [&](Index first, Index rows) {
    before_tile();
    const LeftOperand<T> left{keys + first * features, features, 1};
    with_tile_rows(rows, [&](auto tile_rows) {
      multiply_tile<T, tile_rows, Vectors>(left, queries, features, scores + first * lanes, nullptr, most);
    });
  });
}

/// sums[feature][lane] = sums[feature][lane] * factor[lane] + sum over keys of probabilities[key][lane] *
/// values[key][feature], for keys [first, last) of a tile packed by pack_values.
///
/// What is there already comes last: sums of a tile are rounded as small numbers, so that errors grow with the number
/// of tiles and not with that of keys.
template <class T, int Vectors>
void multiply_values(const T* values, Index tile_capacity, Index first, Index last, Index features,
                     const T* probabilities, const T* factor, T* sums, BeforeTile before_tile) {
  constexpr int lanes = Vectors * packet_size<T>;
  for_each_row_tile(features, [&](Index feature, Index rows) {
    before_tile();
    const LeftOperand<T> left{values + feature * tile_capacity + first * rows, 1, rows};
    with_tile_rows(rows, [&](auto tile_rows) {
      multiply_tile<T, tile_rows, Vectors>(left, probabilities, last - first, sums + feature * lanes, factor, nullptr);
    });
  });
}

/// As multiply_values for `vectors` packets of lanes, lane by lane only over the keys that the lane sees: for tiles
/// with infinities or NaN among their values, where the 0 of a masked probability would not silence them. The same bits
/// as multiply_values elsewhere. `visible(lane, key)` is the mask of a packet of lanes for a key counted from `first`.
template <class T, class Visible>
EIGEN_DONT_INLINE void multiply_visible_values(const T* values, Index tile_capacity, Index first, Index count,
                                               Index features, int vectors, const T* probabilities, const T* factor,
                                               T* sums, const Visible& visible) {
  constexpr int size = packet_size<T>;
  for_each_row_tile(features, [&](Index feature, Index rows) {
    const T* const tile = values + feature * tile_capacity + first * rows;
    for (Index r = 0; r < rows; ++r) {
      for (int v = 0; v < vectors; ++v) {
        T* const place = sums + ((feature + r) * vectors + v) * size;
        Packet<T> sum = broadcast(T{0});
        for (Index key = 0; key < count; ++key) {
          const Packet<T> more =
              ei::pmadd(broadcast(tile[key * rows + r]), load(probabilities + (key * vectors + v) * size), sum);
          sum = ei::pselect(visible(v * size, key), more, sum);
        }
        store(place, ei::pmadd(load(place), load(factor + v * size), sum));
      }
    }
  });
}

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
