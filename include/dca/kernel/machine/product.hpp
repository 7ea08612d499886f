// The register-tiled product: the only place where attention multiplies matrices.
#pragma once

#include <algorithm>
#include <array>
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

/// Rows of the register tiles that there are: full ones, and those for the rest.
inline constexpr std::array<Index, 4> tile_rows{register_tile.rows, 4, 2, 1};

/// multiply_tile by the tile's rows, as in tile_rows, and its packets of lanes less 1.
template <class T>
inline constexpr auto tile_functions = [] {
  static_assert(register_tile.vectors == 3);
  using Function = void (*)(const LeftOperand<T>&, const T*, Index, T*, const T*, T*);
  return []<std::size_t... Tile>(std::index_sequence<Tile...>) {
    return std::array{std::array<Function, 3>{multiply_tile<T, tile_rows[Tile], 1>,
                                              multiply_tile<T, tile_rows[Tile], 2>,
                                              multiply_tile<T, tile_rows[Tile], 3>}...};
  }
  (std::make_index_sequence<tile_rows.size()>{});
}();

/// Which of tile_rows comes next where `left` of `most` rows are left: the largest that they fill, or that lacks one
/// row if a row before them can be multiplied again.
constexpr std::size_t next_tile(Index left, Index most) {
  for (std::size_t tile = 0; tile < 2; ++tile) {
    if (tile_rows[tile] <= std::min(left + 1, most)) return tile;
  }
  return left > 1 ? 2 : 3;
}

/// Calls f(first row, tile of tile_rows) for `rows` rows cut into register tiles.
template <class F>
EIGEN_ALWAYS_INLINE void for_each_row_tile(Index rows, F&& f) {
  for (Index first = 0; first < rows;) {
    const std::size_t tile = next_tile(rows - first, rows - first);
    f(first, tile);
    first += tile_rows[tile];
  }
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
/// `features`, dense; queries [features] x [lanes], of `vectors` packets.
template <class T>
void multiply_keys(const T* keys, Index count, Index features, int vectors, const T* queries, T* scores, T* most,
                   BeforeTile before_tile) {
  const Index lanes = vectors * packet_size<T>;
  std::fill_n(most, lanes, -std::numeric_limits<T>::infinity());
  for (Index done = 0; done < count;) {
    before_tile();
    // One row again takes less time than smaller tiles, whose sums are too few to keep the multipliers busy.
    const std::size_t tile = next_tile(count - done, count);
    const Index rows = tile_rows[tile], first = std::min(done, count - rows);
    tile_functions<T>[tile][static_cast<std::size_t>(vectors - 1)]({keys + first * features, features, 1}, queries,
                                                                   features, scores + first * lanes, nullptr, most);
    done = first + rows;
  }
}

/// sums[feature][lane] = sums[feature][lane] * factor[lane] + sum over keys of probabilities[key][lane] *
/// values[key][feature], for keys [first, last) of a tile packed by pack_values and `vectors` packets of lanes.
///
/// What is there already comes last: sums of a tile are rounded as small numbers, so that errors grow with the number
/// of tiles and not with that of keys.
template <class T>
void multiply_values(const T* values, Index tile_capacity, Index first, Index last, Index features, int vectors,
                     const T* probabilities, const T* factor, T* sums, BeforeTile before_tile) {
  const Index lanes = vectors * packet_size<T>;
  for_each_row_tile(features, [&](Index feature, std::size_t tile) {
    before_tile();
    const Index rows = tile_rows[tile];
    tile_functions<T>[tile][static_cast<std::size_t>(vectors - 1)](
        {values + feature * tile_capacity + first * rows, 1, rows}, probabilities, last - first, sums + feature * lanes,
        factor, nullptr);
  });
}

/// As multiply_values, lane by lane only over the keys that the lane sees: for tiles with infinities or NaN among their
/// values, where the 0 of a masked probability would not silence them. The same bits as multiply_values elsewhere.
/// `visible(lane, key)` is the mask of a packet of lanes for a key counted from `first`.
template <class T, class Visible>
EIGEN_DONT_INLINE void multiply_visible_values(const T* values, Index tile_capacity, Index first, Index count,
                                               Index features, int vectors, const T* probabilities, const T* factor,
                                               T* sums, const Visible& visible) {
  constexpr int size = packet_size<T>;
  for_each_row_tile(features, [&](Index feature, std::size_t kind) {
    const Index rows = tile_rows[kind];
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
