// The products for few query rows: keys and values straight from storage, each read once.
#pragma once

#include <cstdint>

#include "dca/kernel/call/row_functions.hpp"
#include "dca/kv/small_integers.hpp"

#include "dca/packet/code_begin.hpp"

namespace dca::detail {

/// Keys that `rows` query rows meet at a time: as many as make one packet of sums.
template <class T>
constexpr int streamed_keys(int rows) {
  return std::max(1, packet_size<T> / (rows == 3 ? 4 : rows));
}

/// How far ahead of the row at work rows are prefetched, in bytes; 0: hardware alone follows the stream. Several query
/// rows, or rows to convert, have arithmetic to do meanwhile; a single one waits for memory, and what it gains depends
/// on the processor. Measured on Zen 4 (with AVX-512) and Zen 3 (with AVX2).
template <class T, class E, int Rows>
inline constexpr Index bytes_ahead = [] {
  constexpr Index unit = sizeof(StorageUnit<E>), far = 10240;
  if (std::is_same_v<T, E>) return Rows > 1 ? far : Index{many_registers ? 2560 : 0};
  if (unit == 2) return Rows > 1 ? far : Index{many_registers ? 0 : 1024};
  return std::is_same_v<E, Int4> && !many_registers ? Index{0} : far;
}();

template <class T, class E, int Rows>
Index rows_ahead(Index features) {
  return std::max<Index>(1, bytes_ahead<T, E, Rows> / row_bytes<E>(features));
}

/// Prefetches the line that begins with feature d of a row ahead, if one does; the row's first `skipped` features lie
/// before `row`.
template <class T, class E, int Rows>
EIGEN_ALWAYS_INLINE void prefetch_line(std::uintptr_t row, Index d, Index skipped = 0) {
  constexpr Index distance = bytes_ahead<T, E, Rows>;
  if constexpr (distance > 0) {
    constexpr Index unit = sizeof(StorageUnit<E>), line = 64;
    if ((skipped + d) % (line / unit) == 0)
      prefetch(reinterpret_cast<const void*>(row + static_cast<std::uintptr_t>(d * unit)), 1);
  }
}

/// x[0] + ... + x[Count - 1] of each lane, by halves; Count is a power of two.
template <int Count, class Packet>
EIGEN_ALWAYS_INLINE Packet sum_of_packets(Packet* x) {
  if constexpr (Count > 1) {
    unroll<Count / 2>([&](int k) DCA_INLINE { x[k] = ei::padd(x[k], x[k + Count / 2]); });
    return sum_of_packets<Count / 2>(x);
  } else {
    return x[0];
  }
}

/// sums[k] = the sum over the lanes of x[k], for Count packets; `sums` has room for whole packets. By transposing as
/// many packets as there are lanes; where those are many, of packets folded to half their width, which is half the
/// work.
template <class T, int Count, class Packet>
EIGEN_ALWAYS_INLINE void lane_sums(const Packet* x, T* sums) {
  constexpr int size = ei::unpacket_traits<Packet>::size;
  if constexpr (size == 1) {
    unroll<Count>([&](int k) DCA_INLINE { sums[k] = ei::pfirst(x[k]); });
  } else if constexpr (Fold<Packet>::can) {
    typename Fold<Packet>::Half folded[Count];
    unroll<Count>([&](int k) DCA_INLINE { folded[k] = Fold<Packet>::add(x[k]); });
    lane_sums<T, Count>(folded, sums);
  } else if constexpr (Count > size) {
    lane_sums<T, size>(x, sums);
    lane_sums<T, Count - size>(x + size, sums + size);
  } else {
    ei::PacketBlock<Packet, size> block;
    unroll<size>([&](int k) DCA_INLINE { block.packet[k] = k < Count ? x[k] : ei::pset1<Packet>(T{0}); });
    ei::ptranspose(block);
    ei::pstoreu(sums, sum_of_packets<size>(block.packet));
  }
}

/// Products of queries with rows of E as they are loaded, in numbers of T. This, and IntegerProduct as well, says how
/// queries lie, what is loaded of a key at a time, and what becomes of both.
template <class T, class E>
struct NumberProduct {
  using Scalar = T;
  using Storage = E;
  using Query = Packet<T>;
  using Key = Packet<T>;
  using Sum = Packet<T>;
  static constexpr int step = packet_size<T>;  // features at a time
  static constexpr bool scales_queries = false;

  static Index query_bytes(Index features) { return features * static_cast<Index>(sizeof(T)); }
  static EIGEN_ALWAYS_INLINE Query query(const std::byte* row, Index, Index d) {
    return load(reinterpret_cast<const T*>(row) + d);
  }
  static EIGEN_ALWAYS_INLINE Key key(StoredRow<E> row, Index features, Index d) {
    return RowStorage<E>::template load<T>(row, features, d);
  }
  static EIGEN_ALWAYS_INLINE Sum zero() { return broadcast(T{0}); }
  static EIGEN_ALWAYS_INLINE Sum add(const Query& query, const Key& key, StoredRow<E>, Index, const Sum& sum) {
    return ei::pmadd(query, key, sum);
  }
  static EIGEN_ALWAYS_INLINE Packet<T> finish(const Sum& sum, StoredRow<E> row, Index features) {
    if constexpr (HasScale<E>) return ei::pmul(sum, broadcast(static_cast<T>(RowStorage<E>::scale(row, features))));
    return sum;
  }
};

/// scores[r * score_stride + key] = <keys[key], query r> for Rows rows, which lie as the product P has them; whole
/// steps of features. Up to a packet of scores beyond the last key may be written.
template <class P, int Rows>
DCA_FLATTEN void score_rows(const RowStream& keys, Index features, const std::byte* queries, typename P::Scalar* scores,
                            Index score_stride) {
  using T = typename P::Scalar;
  using E = typename P::Storage;
  constexpr int size = packet_size<T>, at_once = streamed_keys<T>(Rows);
  // Keys in one step share the loads of queries, and their sums do not wait for each other. With few registers it pays
  // only where rows are converted: plain ones come faster one after the other, as hardware expects them.
  constexpr int most_in_step = many_registers || (HasScale<E> && Rows <= 2) ? 4 : 2;
  constexpr bool share_queries = HasScale<E> || (!many_registers && !std::is_same_v<T, E>);
  constexpr int in_step = share_queries ? std::min(at_once, most_in_step) : 1;
  // One row's products leave no time: they take a tenth longer with it from the third-level cache (Zen 4). Those of
  // integers do; without it reading them from memory would take a fifth longer.
  constexpr bool prefetches = Rows > 1 || !many_registers || HasScale<E>;
  const Index ahead = rows_ahead<T, E, Rows>(features);
  // Each by itself: clang would compute every place of the unrolled loop from one of them, and run out of registers.
  const std::byte* query_row[Rows];
  unroll<Rows>([&](int r) DCA_INLINE { query_row[r] = unknown(queries + r * P::query_bytes(features)); });
  for (Index first = 0; first < keys.count; first += at_once) {
    Packet<T> sum[Rows * at_once];
    const auto score_step = [&](int from) DCA_INLINE {
      StoredRow<E> row[in_step];
      // From one to the next: clang would compute products of places and stride in vectors, and move them back.
      const std::byte* next = keys.data + std::min(first + from, keys.count - 1) * keys.stride;
      unroll<in_step>([&](int k) DCA_INLINE {
        row[k].data = reinterpret_cast<const StorageUnit<E>*>(next);
        if constexpr (HasSide<E>) row[k].side = keys.side_of<E>(std::min(first + from + k, keys.count - 1));
        next += first + from + k + 1 < keys.count ? keys.stride : 0;
      });
      std::uintptr_t row_ahead[in_step];
      unroll<in_step>([&](int k) DCA_INLINE { row_ahead[k] = keys.address(first + from + k + ahead); });
      typename P::Sum score[Rows][in_step];
      unroll<Rows>([&](int r) DCA_INLINE { unroll<in_step>([&](int k) DCA_INLINE { score[r][k] = P::zero(); }); });
      unroll_by_4<P::step>(features, [&](Index d) DCA_INLINE {
        if constexpr (prefetches)
          unroll<in_step>([&](int k) DCA_INLINE { prefetch_line<T, E, Rows>(row_ahead[k], d); });
        typename P::Key key[in_step];
        unroll<in_step>([&](int k) DCA_INLINE { key[k] = P::key(row[k], features, d); });
        unroll<Rows>([&](int r) DCA_INLINE {
          const typename P::Query query = P::query(query_row[r], features, d);
          unroll<in_step>([&](int k) DCA_INLINE { score[r][k] = P::add(query, key[k], row[k], d, score[r][k]); });
        });
      });
      unroll<in_step>([&](int k) DCA_INLINE {
        unroll<Rows>([&](int r) DCA_INLINE { sum[r * at_once + from + k] = P::finish(score[r][k], row[k], features); });
      });
    };
    // To unroll all steps would be up to four times as much to compile, and no faster.
    constexpr int steps = std::min(4, at_once / in_step);
    for (int from = 0; from < at_once; from += steps * in_step) {
      unroll<steps>([&](int step) DCA_INLINE { score_step(from + step * in_step); });
    }
    alignas(64) T found[round_up(Rows * at_once, size)];
    lane_sums<T, Rows * at_once>(sum, found);
    unroll<Rows>([&](int r) DCA_INLINE {
      T* const place = scores + r * score_stride + first;
      std::copy_n(found + r * at_once, at_once, place);
      if constexpr (P::scales_queries) multiply_by(P::query_scale(query_row[r]), place, at_once);
    });
  }
}

/// Keys whose weights are multiplied by their scales together.
inline constexpr Index keys_to_scale = 32;

/// scaled[r * keys_to_scale + key - first] = weights[r * weight_stride + key] times the scale of the key's row, for
/// keys [first, last).
template <class T, class E, int Rows>
EIGEN_ALWAYS_INLINE void scale_weights(const RowStream& values, Index first, Index last, Index features,
                                       const T* weights, Index weight_stride, T* scaled) {
  alignas(64) T scales[keys_to_scale];
  for (Index key = first; key < last; ++key) {
    scales[key - first] = static_cast<T>(RowStorage<E>::scale(values.row<E>(key), features));
  }
  unroll<Rows>([&](int r) DCA_INLINE {
    const T* const from = weights + r * weight_stride + first;
    T* const to = scaled + r * keys_to_scale;
    Index k = 0;
    for (; k + packet_size<T> <= last - first; k += packet_size<T>) {
      store(to + k, ei::pmul(ei::ploadu<Packet<T>>(from + k), load(static_cast<const T*>(scales) + k)));
    }
    for (; k < last - first; ++k) to[k] = from[k] * scales[k];
  });
}

/// sums[r * features + feature + lane] += sum over keys in [first, last) of weights[r * weight_stride + key - first] *
/// values[key][feature + lane], as they are loaded, for Rows rows and Vectors packets of features. Keys in ascending
/// order, each row for itself: the bits do not depend on which rows go together.
template <class T, class E, int Rows, int Vectors>
EIGEN_ALWAYS_INLINE void add_values_tile(const RowStream& values, Index first, Index last, Index features,
                                         Index feature, const T* weights, Index weight_stride, T* sums, Index ahead) {
  constexpr int size = packet_size<T>;
  Packet<T> sum[Rows][Vectors];
  unroll<Rows>([&](int r) DCA_INLINE {
    unroll<Vectors>([&](int v) DCA_INLINE { sum[r][v] = load(sums + r * features + feature + v * size); });
  });
  // Plain numbers lie at fixed distances from the first of them. Without being told, g++ may count from the last:
  // memory is then not read in order, which took a quarter longer.
  constexpr bool plain = loads_as<T, E>;
  const Index start = plain ? 0 : feature;
  for (Index key = first; key < last; ++key) {
    StoredRow<E> row = values.row<E>(key);
    std::uintptr_t row_ahead = values.address(key + ahead);
    if constexpr (plain) {
      row.data = unknown(row.data + feature);
      row_ahead = unknown(row_ahead + static_cast<std::uintptr_t>(feature) * sizeof(E));
    }
    Packet<T> weight[Rows];
    unroll<Rows>([&](int r) DCA_INLINE { weight[r] = broadcast(weights[r * weight_stride + key - first]); });
    unroll<Vectors>([&](int v) DCA_INLINE {
      prefetch_line<T, E, Rows>(row_ahead, start + v * size, feature - start);
      const Packet<T> value = RowStorage<E>::template load<T>(row, features, start + v * size);
      unroll<Rows>([&](int r) DCA_INLINE { sum[r][v] = ei::pmadd(weight[r], value, sum[r][v]); });
    });
  }
  unroll<Rows>([&](int r) DCA_INLINE {
    unroll<Vectors>([&](int v) DCA_INLINE { store(sums + r * features + feature + v * size, sum[r][v]); });
  });
}

/// As add_values_tile, all features of a key in turn, Keys keys at a time: the first Held packets of features with
/// their sums in registers, the others with theirs in memory, which is to say in the first-level cache.
template <class T, class E, int Rows, int Keys, int Held>
void add_value_rows(const RowStream& values, Index first, Index last, Index features, const T* weights,
                    Index weight_stride, T* __restrict sums, Index ahead) {
  constexpr int size = packet_size<T>;
  Packet<T> held[Rows][std::max(1, Held)];
  const auto for_each_held = [](const auto& f) DCA_INLINE {
    unroll<Rows>([&](int r) DCA_INLINE { unroll<Held>([&](int v) DCA_INLINE { f(r, v); }); });
  };
  for_each_held([&](int r, int v) DCA_INLINE { held[r][v] = load(sums + r * features + v * size); });
  const auto add = [&]<int N>(std::integral_constant<int, N>, Index key) {
    StoredRow<E> row[N];
    std::uintptr_t row_ahead[N];
    Packet<T> weight[N][Rows];
    unroll<N>([&](int k) DCA_INLINE {
      row[k] = values.row<E>(key + k);
      row_ahead[k] = values.address(key + k + ahead);
      unroll<Rows>([&](int r) DCA_INLINE { weight[k][r] = broadcast(weights[r * weight_stride + key + k - first]); });
    });
    const auto add_packet = [&](Index d, const auto& sum_of_row) DCA_INLINE {
      Packet<T> value[N];
      unroll<N>([&](int k) DCA_INLINE {
        prefetch_line<T, E, Rows>(row_ahead[k], d);
        value[k] = RowStorage<E>::template load<T>(row[k], features, d);
      });
      unroll<Rows>([&](int r) DCA_INLINE {
        sum_of_row(r, [&](Packet<T> sum) DCA_INLINE {
          unroll<N>([&](int k) DCA_INLINE { sum = ei::pmadd(weight[k][r], value[k], sum); });
          return sum;
        });
      });
    };
    const auto add_to_memory = [&](Index d) DCA_INLINE {
      add_packet(d, [&](int r, const auto& plus) DCA_INLINE {
        T* const place = sums + r * features + d;
        store(place, plus(load(place)));
      });
    };
    unroll<Held>([&](int v) DCA_INLINE {
      add_packet(v * size, [&](int r, const auto& plus) DCA_INLINE { held[r][v] = plus(held[r][v]); });
    });
    constexpr int at_once = Rows > 2 ? 1 : 4;
    Index d = Held * size;
    for (; d + at_once * size <= features; d += at_once * size) {
      unroll<at_once>([&](int v) DCA_INLINE { add_to_memory(d + v * size); });
    }
    for (; d < features; d += size) add_to_memory(d);
  };
  Index key = first;
  for (; key + Keys <= last; key += Keys) add(std::integral_constant<int, Keys>{}, key);
  if constexpr (Keys > 1) {
    for (; key < last; ++key) add(std::integral_constant<int, 1>{}, key);
  }
  for_each_held([&](int r, int v) DCA_INLINE { store(sums + r * features + v * size, held[r][v]); });
}

/// The sums above over keys [first, last) and all features, which are whole packets. Where registers hold the sums of a
/// good part of a row, a few keys at a time, so that what a second pass over their features needs is at hand; else one
/// key or two at a time: hardware sees one stream, and passes over small parts of many rows would look like many.
template <class T, class E, int Rows>
EIGEN_ALWAYS_INLINE void add_weighted(const RowStream& values, Index first, Index last, Index features,
                                      const T* weights, Index weight_stride, T* sums, Index ahead) {
  if constexpr (many_registers) {
    constexpr int vectors = std::min(8, 16 / (Rows == 3 ? 4 : Rows));
    constexpr int size = packet_size<T>;
    Index feature = 0;
    const auto add = [&]<int Vectors>(std::integral_constant<int, Vectors>) {
      for (; feature + Vectors * size <= features; feature += Vectors * size) {
        add_values_tile<T, E, Rows, Vectors>(values, first, last, features, feature, weights, weight_stride, sums,
                                             ahead);
      }
    };
    add(std::integral_constant<int, vectors>{});
    if constexpr (vectors > 4) add(std::integral_constant<int, 4>{});
    add(std::integral_constant<int, 2>{});
    add(std::integral_constant<int, 1>{});
  } else {
    constexpr bool converts = !std::is_same_v<T, E>;
    constexpr int together = Rows > 1 && converts ? 2 : 1;  // several rows to convert leave no time for sums in memory
    // Of 16 registers, beside weights and values; a row of 64 float features on AVX2 has eight packets.
    constexpr int most_held = Rows == 1 ? 12 : 8 / Rows, fewer_held = Rows == 1 ? 8 : 0;
    const auto add = [&]<int Held>(std::integral_constant<int, Held>) {
      add_value_rows<T, E, Rows, together, Held>(values, first, last, features, weights, weight_stride, sums, ahead);
    };
    if (features >= most_held * packet_size<T>) {
      add(std::integral_constant<int, most_held>{});
    } else if (features >= fewer_held * packet_size<T>) {
      add(std::integral_constant<int, fewer_held>{});
    } else {
      add(std::integral_constant<int, 0>{});
    }
  }
}

/// sums[r * features + d] += sum over keys of weights[r * weight_stride + key] * values[key][d], for Rows rows.
template <class T, class E, int Rows>
void add_values(const RowStream& values, Index features, const T* weights, Index weight_stride, T* sums) {
  const Index ahead = rows_ahead<T, E, Rows>(features);
  // All at once where there is nothing to scale, and sums are not stored in between.
  const Index at_once = HasScale<E> || many_registers ? keys_to_scale : std::max<Index>(1, values.count);
  for (Index first = 0; first < values.count; first += at_once) {
    const Index last = std::min(values.count, first + at_once);
    if constexpr (HasScale<E>) {
      alignas(64) T scaled[Rows * keys_to_scale];
      scale_weights<T, E, Rows>(values, first, last, features, weights, weight_stride, scaled);
      add_weighted<T, E, Rows>(values, first, last, features, scaled, keys_to_scale, sums, ahead);
    } else {
      add_weighted<T, E, Rows>(values, first, last, features, weights + first, weight_stride, sums, ahead);
    }
  }
}

}  // namespace dca::detail

#include "dca/packet/code_end.hpp"
