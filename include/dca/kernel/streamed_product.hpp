// The products for few query rows: keys and values straight from storage, each read once.
#pragma once

#include "dca/kernel/row_reader.hpp"

#include "dca/kernel/packet_code_begin.hpp"

namespace dca::detail {

/// Query rows that a pass over a tile's rows serves together.
inline constexpr int streamed_rows = 4;

/// Keys that `rows` query rows meet at a time: as many as make one packet of sums.
template <class T>
constexpr int streamed_keys(int rows) {
  return std::max(1, packet_size<T> / (rows == 3 ? 4 : rows));
}

/// Rows of E by pointers to their beginnings.
template <class E>
class RowPointers {
 public:
  explicit RowPointers(const void* const* rows) : rows_(rows) {}
  EIGEN_ALWAYS_INLINE const StorageUnit<E>* operator[](Index k) const {
    return static_cast<const StorageUnit<E>*>(rows_[k]);
  }

 private:
  const void* const* rows_;
};

/// sums[k] = the sum over the lanes of x[k], for Count packets; `sums` has room for whole packets. By transposing as
/// many packets as there are lanes; where those are many, of packets folded to half their width, which is half the
/// work.
template <class T, int Count, class Packet>
EIGEN_ALWAYS_INLINE void lane_sums(const Packet* x, T* sums) {
  constexpr int size = ei::unpacket_traits<Packet>::size;
  if constexpr (size == 1) {
    unroll<Count>([&](auto k) { sums[k] = ei::pfirst(x[k]); });
  } else if constexpr (Fold<Packet>::can) {
    typename Fold<Packet>::Half folded[Count];
    unroll<Count>([&](auto k) { folded[k] = Fold<Packet>::add(x[k]); });
    lane_sums<T, Count>(folded, sums);
  } else if constexpr (Count > size) {
    lane_sums<T, size>(x, sums);
    lane_sums<T, Count - size>(x + size, sums + size);
  } else {
    ei::PacketBlock<Packet, size> block;
    unroll<size>([&](auto k) {
      if constexpr (k < Count) {
        block.packet[k] = x[k];
      } else {
        block.packet[k] = ei::pset1<Packet>(T{0});
      }
    });
    ei::ptranspose(block);
    for (int step = size / 2; step > 0; step /= 2) {
      for (int k = 0; k < step; ++k) block.packet[k] = ei::padd(block.packet[k], block.packet[k + step]);
    }
    ei::pstoreu(sums, block.packet[0]);
  }
}

/// Rows that are asked for ahead of the one at work: so many pointers must follow the last row's.
inline constexpr Index rows_ahead = 8;

/// scores[r * score_stride + key] = <keys[key], queries + r * features> for Rows rows and `count` keys; whole packets
/// of features. Of the rows ahead `bytes_ahead` bytes are asked for. Up to a packet of scores beyond `count` may be
/// written. A key is read from front to back, one after the other, as hardware expects of a stream.
template <class T, class E, int Rows>
void score_rows(const void* const* keys, Index count, Index features, const T* queries, T* scores, Index score_stride,
                Index bytes_ahead) {
  using Reader = RowReader<T, E>;
  constexpr int size = packet_size<T>, at_once = streamed_keys<T>(Rows);
  for (Index first = 0; first < count; first += at_once) {
    Packet<T> sum[Rows * at_once];
    unroll<Rows * at_once>([&](auto k) { sum[k] = broadcast(T{0}); });
    const void* at_hand[at_once];
    for (int k = 0; k < at_once; ++k) at_hand[k] = keys[std::min(first + k, count - 1)];
    const RowPointers<E> rows(at_hand);
    unroll<at_once>([&](auto k) {
      if (first + k < count) prefetch(keys[first + k + rows_ahead], bytes_ahead);
      for (Index d = 0; d < features; d += size) {
        const Packet<T> key = Reader::load(rows[k], features, d);
        unroll<Rows>([&](auto r) {
          sum[r * at_once + k] = ei::pmadd(load(queries + r * features + d), key, sum[r * at_once + k]);
        });
      }
    });
    T found[round_up(Rows * at_once, size)];
    lane_sums<T, Rows * at_once>(sum, found);
    if constexpr (Reader::has_scale) {
      alignas(64) T scale[at_once];
      for (int k = 0; k < at_once; ++k) scale[k] = Reader::scale(rows[k], features);
      for (int r = 0; r < Rows; ++r) {
        for (int k = 0; k < at_once; ++k) found[r * at_once + k] *= scale[k];
      }
    }
    for (int r = 0; r < Rows; ++r) std::copy_n(found + r * at_once, at_once, scores + r * score_stride + first);
  }
}

/// sums[r * features + feature + lane] += sum over keys in [first, last) of weights[r * weight_stride + key] *
/// values[key][feature + lane], for Rows rows and Vectors packets of features. Keys in ascending order, each row for
/// itself: the bits do not depend on which rows go together.
template <class T, class E, int Rows, int Vectors>
EIGEN_ALWAYS_INLINE void add_values_tile(const void* const* rows, Index first, Index last, Index features,
                                         Index feature, const T* weights, Index weight_stride, T* sums,
                                         Index bytes_ahead) {
  using Reader = RowReader<T, E>;
  constexpr int size = packet_size<T>;
  Packet<T> sum[Rows][Vectors];
  unroll<Rows>(
      [&](auto r) { unroll<Vectors>([&](auto v) { sum[r][v] = load(sums + r * features + feature + v * size); }); });
  const RowPointers<E> values(rows);
  for (Index key = first; key < last; ++key) {
    prefetch(rows[key + rows_ahead], bytes_ahead);
    const StorageUnit<E>* const row = values[key];
    Packet<T> weight[Rows];
    T scale{1};
    if constexpr (Reader::has_scale) scale = static_cast<T>(Reader::scale(row, features));
    unroll<Rows>([&](auto r) { weight[r] = broadcast(weights[r * weight_stride + key] * scale); });
    unroll<Vectors>([&](auto v) {
      const Packet<T> value = Reader::load(row, features, feature + v * size);
      unroll<Rows>([&](auto r) { sum[r][v] = ei::pmadd(weight[r], value, sum[r][v]); });
    });
  }
  unroll<Rows>(
      [&](auto r) { unroll<Vectors>([&](auto v) { store(sums + r * features + feature + v * size, sum[r][v]); }); });
}

/// add_values_tile over all features, which are whole packets. A few keys at a time, so that what a second pass over
/// their features needs is at hand: hardware sees one stream.
template <class T, class E, int Rows>
void add_values(const void* const* values, Index first, Index last, Index features, const T* weights,
                Index weight_stride, T* sums, Index bytes_ahead) {
  constexpr int registers = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 16 : 8;
  constexpr int vectors = std::min(8, registers / (Rows == 3 ? 4 : Rows));
  constexpr int size = packet_size<T>;
  constexpr Index keys_at_a_time = 32;
  for (Index key = first; key < last; key += keys_at_a_time) {
    const Index end = std::min(last, key + keys_at_a_time);
    Index in_first_pass = bytes_ahead;
    Index feature = 0;
    for (; feature + vectors * size <= features; feature += vectors * size) {
      add_values_tile<T, E, Rows, vectors>(values, key, end, features, feature, weights, weight_stride, sums,
                                           in_first_pass);
      in_first_pass = 0;
    }
    if (feature == features) continue;
    with_count<vectors>(static_cast<int>((features - feature) / size), [&](auto rest) {
      add_values_tile<T, E, Rows, rest>(values, key, end, features, feature, weights, weight_stride, sums,
                                        in_first_pass);
    });
  }
}

}  // namespace dca::detail

#include "dca/kernel/packet_code_end.hpp"
