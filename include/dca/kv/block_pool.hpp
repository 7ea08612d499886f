// A pool of blocks of keys and values.
#pragma once

#include "dca/kv/pool_core.hpp"

namespace dca {

/// A fixed number of blocks of `block_size` tokens each, any block_size: a block may hold tokens of two chunks. Keys
/// are stored as K, rotated once when they enter, values as V. Blocks are reference-counted; tables belong to the
/// caller or a PagedCache.
///
/// One thread at a time may change a pool; any number may read one that nobody changes.
template <class K, class Placement = ChunkOffset, class V = K>
class BlockPool : private detail::PoolCore<detail::CacheScalar<K>> {
  using Scalar = detail::CacheScalar<K>;
  using Core = detail::PoolCore<Scalar>;

 public:
  using Key = K;
  using Value = V;
  using KeyPlacement = Placement;

  /// Throws std::invalid_argument where a size is out of range, a head_dim does not suit the storage, rotary_dim
  /// exceeds head_dim, or the bytes overflow; std::bad_alloc without memory.
  BlockPool(PlacedKeys<Placement> placed, CacheShape sizes, Index block_count, Index tokens_per_block)
      : Core(detail::placement_ref(placed), sizes, detail::stored_as<Scalar, K>(), detail::stored_as<Scalar, V>(),
             block_count, tokens_per_block),
        placed_(std::move(placed)) {}

  using Core::block_size;
  using Core::blocks;
  using Core::bytes;
  using Core::check_readable;
  using Core::free_blocks;
  using Core::give_back;
  using Core::key_offset;
  using Core::read_summary;
  using Core::shape;
  using Core::share;
  using Core::take;
  using Core::users;

  /// From now on keys are stored less `offset` [kv_heads, head_dim], of the model's features, and read with it:
  /// storages of few bits keep more of keys that a bias dominates. What it costs grows with the pairs of features that
  /// are not 0: see estimate_key_offset. Throws std::invalid_argument, with nothing changed, where its shape is
  /// another, a number is not finite, or a block is in use; std::bad_alloc without memory.
  template <class X>
  void set_key_offset(TensorView<X> offset) {
    Core::set_key_offset(detail::placement_ref(placed_), detail::AnyTensor(offset),
                         detail::decode_function<Scalar, std::remove_const_t<X>>());
  }

  /// From now on keys are stored as `other` stores them. For a pool that is to take its place.
  void share_key_offset(const BlockPool& other) { Core::share_key_offset(other); }

  /// Writes batch b of key [batch, m, kv_heads, head_dim] (unrotated) and value likewise after the tokens of tables[b],
  /// into blocks that the tables name already; the caller then adds m to their lengths. Rank 3 with one table. Throws,
  /// with nothing written, std::bad_alloc without memory, and std::invalid_argument where shapes do not fit, a table is
  /// too short, a block to be written, or read to update a summary, is out of the pool or not in use, or a block to be
  /// written has several users or is in the tables twice.
  template <class Device, class X, class Y>
  void append(const Device& device, std::span<const BlockTable> tables, TensorView<X> key, TensorView<Y> value) {
    using From = std::remove_const_t<X>;
    detail::TokenFunctions<Scalar> functions{nullptr, nullptr, detail::encode_function<std::remove_const_t<Y>, V>(),
                                             detail::decode_function<Scalar, From>()};
    if constexpr (std::is_same_v<Placement, Unplaced>) {
      functions.encode_key = detail::encode_function<From, K>();
    } else {
      functions.place = detail::place_key_of<Scalar, From>();
      functions.encode_key = detail::encode_function<Scalar, K>();
    }
    Core::append(device, detail::placement_ref(placed_), functions, tables,
                 {detail::AnyTensor(key), detail::AnyTensor(value), static_cast<Index>(tables.size()), shape()});
  }

  /// The number m of new tokens in key and value, of a batch of `sequences`. Throws std::invalid_argument where shapes
  /// do not fit.
  template <class X, class Y>
  Index check_tokens(TensorView<X> key, TensorView<Y> value, Index sequences) const {
    return detail::NewTokens(detail::AnyTensor(key), detail::AnyTensor(value), sequences, shape()).count();
  }

  /// Copies the first `tokens` tokens of a block, with their summaries; they keep their positions. Throws
  /// std::invalid_argument for blocks not in use, where `to` has several users or is `from`, and unless
  /// 0 <= tokens <= block_size.
  void copy_tokens(Index from, Index to, Index tokens) { copy_tokens_from(*this, from, to, tokens); }

  /// As copy_tokens, from a block of another pool, which may have another block_size. Throws also where the pools
  /// differ in shape, summary_block, key offset, layout or embedding, and where no block of this pool can begin at the
  /// same offset from a multiple of summary_block as `from`.
  void copy_tokens_from(const BlockPool& other, Index from, Index to, Index tokens) {
    if (&other != this) {
      Core::check_alike(other);
      if constexpr (!std::is_same_v<Placement, Unplaced>) {
        detail::check_placed("other", other.placed_, placed_.chunks, placed_.rope, "this pool");
      }
    }
    Core::copy_tokens_from(other, from, to, tokens);
  }

  RowRun<K> keys(const BlockTable& table, Index kv_head, Index first) const {
    return Core::keys(table, kv_head, first).template as<K>();
  }
  RowRun<V> values(const BlockTable& table, Index kv_head, Index first) const {
    return Core::values(table, kv_head, first).template as<V>();
  }

  const PlacedKeys<Placement>& placement() const { return placed_; }

 private:
  PlacedKeys<Placement> placed_;
};

}  // namespace dca
