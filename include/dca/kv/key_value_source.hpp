// Where the tile loop reads keys and values from.
#pragma once

#include <concepts>

#include "dca/kv/storage.hpp"
#include "dca/positions/key_placement.hpp"

namespace dca {

/// `count` rows of features, stored as E: row r starts at data + r * stride units (see StorageUnit).
template <class E>
struct RowRun {
  const StorageUnit<E>* data = nullptr;
  Index stride = 0;
  Index count = 0;
};

/// What the tile loop asks of its keys and values: of how many sequences, how long each is, and runs of rows by
/// (sequence, kv_head, absolute position of the first row), each as long as the memory allows and at least one row. The
/// loop asks only for positions below the sequence's length, and reads only rows that some query sees.
///
/// KeyPlacement is Unplaced where keys come as the model made them; the loop then rotates them. Otherwise they are
/// already rotated at KeyPlacement's position, by the layout and the embedding that `placement()` tells, the first
/// features of all pairs in front and then the second ones: see RowRotator.
template <class Source>
concept KeyValueSource = requires(const Source& source, Index sequence, Index kv_head, Index first) {
  typename Source::KeyPlacement;
  { source.keys(sequence, kv_head, first) } -> std::same_as<RowRun<typename Source::Key>>;
  { source.values(sequence, kv_head, first) } -> std::same_as<RowRun<typename Source::Value>>;
  { source.sequences() } -> std::same_as<Index>;
  { source.length(sequence) } -> std::same_as<Index>;
  { source.kv_heads() } -> std::same_as<Index>;
  { source.head_dim() } -> std::same_as<Index>;
  { source.v_head_dim() } -> std::same_as<Index>;
};

template <class Source>
inline constexpr bool has_placed_keys = !std::is_same_v<typename Source::KeyPlacement, Unplaced>;

/// A source that keeps, besides, summaries of its keys as they are placed: of the keys [b * summary_block(),
/// (b + 1) * summary_block()) of a sequence and kv_head, as far as there are such, read_summary writes mean, least and
/// largest, [3][head_dim]. summary_block() 0: it keeps none. Of other sources a call that chooses keys by what is in
/// them makes its own, from all keys.
template <class Source>
concept SummarisedSource = KeyValueSource<Source> && has_placed_keys<Source> &&
    requires(const Source& source, Index sequence, Index kv_head, Index block, float* place) {
  { source.summary_block() } -> std::same_as<Index>;
  source.read_summary(sequence, kv_head, block, place);
};

}  // namespace dca
