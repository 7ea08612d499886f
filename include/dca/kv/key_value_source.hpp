// Where the tile loop reads keys and values from.
#pragma once

#include <array>
#include <concepts>

#include "dca/kv/placed_keys.hpp"
#include "dca/kv/storage.hpp"
#include "dca/tensor/checks.hpp"

namespace dca {

/// `count` rows of features, stored as E: row r starts at data + r * stride units (see StorageUnit).
template <class E>
struct RowRun {
  const StorageUnit<E>* data = nullptr;
  Index stride = 0;
  Index count = 0;
};

namespace detail {

template <class Source, class Placement>
concept HoldsPlaced = KeyPlacing<Placement> && requires(const Source& source) {
  { source.placement() } -> std::convertible_to<const PlacedKeys<Placement>&>;
};

/// A KeyPlacement, and placement() where keys are placed.
template <class Source>
concept TellsPlacement =
    std::same_as<typename Source::KeyPlacement, Unplaced> || HoldsPlaced<Source, typename Source::KeyPlacement>;

/// A source in memory of the caller's, which no output may overlap.
template <class Source>
concept TellsMemory = requires(const Source& source) {
  { source.memory() } -> std::same_as<std::array<NamedRange, 2>>;
};

}  // namespace detail

/// What the tile loop asks of its keys and values: of how many sequences, how long each is, and runs of rows by
/// (sequence, kv_head, absolute position of the first row), each as long as the memory allows and at least one row. The
/// loop asks only for positions below the sequence's length, and reads only rows that some query sees. It asks from
/// several threads at once, and must get the same answers for as long as a call lasts. Functions should not throw: the
/// results of a call in which one does may hold anything.
///
/// KeyPlacement is Unplaced where keys come as the model made them; the loop then rotates them. Otherwise they are
/// already rotated at KeyPlacement's position, by the layout and the embedding that `placement()` tells, the first
/// features of all pairs in front and then the second ones: see RowRotator.
template <class Source>
concept KeyValueSource = detail::TellsPlacement<Source> &&
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

/// A source that keeps, besides, summaries of its keys as they are placed: of the keys [b * summary_block(),
/// (b + 1) * summary_block()) of a sequence and kv_head, as far as there are such, read_summary writes mean, least and
/// largest, [3][head_dim], in the scalar T of the call's arithmetic. summary_block() 0: it keeps none. Of other sources
/// a call that chooses keys by what is in them makes its own, from all keys.
template <class Source, class T = float>
concept SummarisedSource = KeyValueSource<Source> && has_placed_keys<Source> &&
    requires(const Source& source, Index sequence, Index kv_head, Index block, T* place) {
  { source.summary_block() } -> std::same_as<Index>;
  source.read_summary(sequence, kv_head, block, place);
};

}  // namespace dca
