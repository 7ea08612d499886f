// Where the tile loop reads keys and values from.
#pragma once

#include <array>
#include <concepts>

#include "dca/kv/placed_keys.hpp"
#include "dca/kv/storage.hpp"
#include "dca/tensor/checks.hpp"

namespace dca {

/// `count` rows of features, stored as E: row r starts at data + r * stride, in units of StorageUnit. Where E has a
/// side, the first row is number side_token of those that share the one at `side`, the next side is side_stride
/// StorageSides after it, and so on.
template <class E>
struct RowRun {
  const StorageUnit<E>* data = nullptr;
  Index stride = 0;
  Index count = 0;
  const StorageSide<E>* side = nullptr;
  Index side_stride = 0;
  Index side_token = 0;

  StoredRow<E> row(Index r) const {
    return {data + r * stride, side + (side_token + r) / detail::SideOf<E>::tokens * side_stride};
  }
};

namespace detail {

template <class Source, class Placement>
concept HasPlacedKeys = KeyPlacing<Placement> && requires(const Source& source) {
  { source.placement() } -> std::convertible_to<const PlacedKeys<Placement>&>;
};

/// Has a KeyPlacement, and placement() where keys are placed.
template <class Source>
concept HasPlacement =
    std::same_as<typename Source::KeyPlacement, Unplaced> || HasPlacedKeys<Source, typename Source::KeyPlacement>;

template <class Source, class T>
concept HasSummaries = requires(const Source& source, Index sequence, Index kv_head, Index block, T* place) {
  { source.summary_block() } -> std::same_as<Index>;
  source.read_summary(sequence, kv_head, block, place);
};

/// A source in memory of the caller, given by memory(): outputs must not overlap it.
template <class Source>
concept HasMemory = requires(const Source& source) {
  { source.memory() } -> std::same_as<std::array<NamedRange, 2>>;
};

}  // namespace detail

/// What the tile loop needs of keys and values: the number of sequences, their lengths, and runs of rows by (sequence,
/// kv_head, absolute position of the first row), each as long as the memory allows and at least one row. The loop asks
/// only for positions below the sequence's length, and reads only rows that some query sees. Functions are called from
/// several threads at once, and must return the same throughout a call. They should not throw: an exception reaches the
/// caller, with outputs partly written.
///
/// KeyPlacement is Unplaced for keys as the model made them; the loop then rotates them. Otherwise keys are already
/// rotated to KeyPlacement's position, with the layout and embedding of placement(), and the first features of all
/// pairs come before the second ones: see RowRotator.
template <class Source>
concept KeyValueSource = detail::HasPlacement<Source> &&
    requires(const Source& source, Index sequence, Index kv_head, Index first) {
  typename Source::KeyPlacement;
  { source.keys(sequence, kv_head, first) } -> std::same_as<RowRun<typename Source::Key>>;
  { source.values(sequence, kv_head, first) } -> std::same_as<RowRun<typename Source::Value>>;
  { source.sequences() } -> std::same_as<Index>;
  { source.length(sequence) } -> std::same_as<Index>;
  { source.kv_heads() } -> std::same_as<Index>;
  { source.head_dim() } -> std::same_as<Index>;
  { source.v_head_dim() } -> std::same_as<Index>;
};

/// A source whose keys are placed.
template <class Source>
inline constexpr bool has_placed_keys = !std::is_same_v<typename Source::KeyPlacement, Unplaced>;

/// A source that also keeps summaries of its placed keys. read_summary writes mean, least and largest, [3][head_dim],
/// in the scalar T of the call, of those keys [b * summary_block(), (b + 1) * summary_block()) of a sequence and
/// kv_head that exist. summary_block() 0: it keeps none. For other sources a call that ranks blocks makes summaries
/// itself, from all keys.
template <class Source, class T = float>
concept SummarisedSource = KeyValueSource<Source> && has_placed_keys<Source> && detail::HasSummaries<Source, T>;

}  // namespace dca
