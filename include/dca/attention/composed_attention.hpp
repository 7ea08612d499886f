// The operator: any composition of parts under one softmax.
#pragma once

#include "dca/attention/checked_call.hpp"
#include "dca/kv/cache.hpp"
#include "dca/kv/dense.hpp"
#include "dca/kv/paged_cache.hpp"
#include "dca/kv/ragged.hpp"
#include "dca/positions/chunk_part.hpp"
#include "dca/tensor/checks.hpp"

namespace dca {

/// Attention over the union of the parts' key ranges, as one softmax in one pass. T, float or double, is the scalar of
/// the arithmetic; tensors may hold it or a narrower type.
///
/// Each part says from which rotary position a query looks at which keys (see ChunkPart); the parts of a composition
/// share a Layout, and their ranges must not overlap. With a single part the result is that part's partial state: rows
/// that see no key give out 0 and lse -inf, and `merge` combines states of several parts.
///
/// The operator holds no state of a call: one may serve many threads.
template <class T, ChunkPart First, ChunkPart... Rest>
class ComposedAttention {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "attention is computed in float or double");
  static_assert((std::is_same_v<typename First::Layout, typename Rest::Layout> && ...), "parts must share one layout");

 public:
  using Layout = typename First::Layout;

  /// Whether calls may take a policy: one part, and no other, lets queries choose among its keys.
  static constexpr bool may_select = (int{SelectablePart<First>} + ... + SelectablePart<Rest>) == 1;

  /// Throws std::invalid_argument where softmax_scale or logit_softcap is outside the range given at AttentionConfig.
  explicit ComposedAttention(AttentionConfig<Layout> config) : config_(std::move(config)) {
    softcap_ = detail::checked_logit_options<T>(config_.softmax_scale, config_.logit_softcap, config_.rope);
  }

  const AttentionConfig<Layout>& config() const { return config_; }

  /// out[b, r, h] = sum over visible keys j of softmax(logit)(j) * value[b, j, h / (heads / kv_heads)].
  ///
  /// query [batch, q_len, heads, head_dim], key [batch, kv_len, kv_heads, head_dim], value [batch, kv_len, kv_heads,
  /// v_head_dim], out [batch, q_len, heads, v_head_dim]; all may drop the batch. Keys and queries come unrotated. Query
  /// row r stands at absolute position q_offset + r, key j at j. Runs on any Eigen CPU device, with scratch from its
  /// allocator; the same bits for any number of threads and any batch.
  /// Throws std::invalid_argument for arguments that do not fit together, std::bad_alloc without scratch, with nothing
  /// written. q_len 0 does nothing. It may be called from a thread of the device's pool: it waits only for helpers that
  /// have started. What a part, source or policy throws, on any thread, is rethrown when all threads are done: from a
  /// policy with nothing written, otherwise with out, lse and skipped partly written.
  ///
  /// With a policy as `selection`, queries visit only the keys that it chooses of the composition's selectable part
  /// (InterChunk), and all those of the others: an approximation, exact for what is visited. See BlockSelection.
  template <class Device, class Q, class K, class V, class O, BlockSelection<T> Selection = AllChunks>
  void operator()(const Device& device, TensorView<Q> query, TensorView<K> key, TensorView<V> value, TensorView<O> out,
                  const CallOptions<T>& options = {}, const Selection& selection = {}) const {
    operator()(device, query, DenseKeyValues<std::remove_const_t<K>, std::remove_const_t<V>>(key, value), out, options,
               selection);
  }

  /// As above, with the keys and values of a KeyValueSource: a cache, some of the sequences of a paged one, a ragged
  /// batch. Keys that a cache has rotated must be placed as this operator places them. Each sequence of the source has
  /// a batch of query and out; with options.cu_seqlens, rows of a single one. By default the queries are the last
  /// tokens of their sequence. Throws also where the source was made for another layout, embedding or number of
  /// sequences.
  template <class Device, class Q, KeyValueSource Source, class O, BlockSelection<T> Selection = AllChunks>
  void operator()(const Device& device, TensorView<Q> query, const Source& source, TensorView<O> out,
                  const CallOptions<T>& options = {}, const Selection& selection = {}) const {
    static_assert(!std::is_const_v<O>, "out must be writable");
    check_placement(source);
    const detail::OperatorRef attention{detail::composition_of<First, Rest...>(config_.chunks), config_.rope,
                                        config_.softmax_scale, softcap_, selectable_part};
    const detail::SourceRef<T> keys(source);
    const detail::QueryTensor<T> rows(query);
    const detail::OutTensor<T> result(out);
    if constexpr (std::is_same_v<Selection, AllChunks>) {
      detail::checked_call<T>(device, attention, rows, keys, result, options, nullptr);
    } else {
      static_assert(may_select, "a policy needs a composition with one selectable part");
      const detail::SelectionRef<T> policy(selection);
      const detail::SelectedKernels<T> selected{policy, detail::attend_selected<T>};
      detail::checked_call<T>(device, attention, rows, keys, result, options, &selected);
    }
  }

  /// As above, with all sequences of a cache.
  template <class Device, class Q, class Cache, class O, BlockSelection<T> Selection = AllChunks>
  requires requires(const Cache& cache) { cache.view(); }
  void operator()(const Device& device, TensorView<Q> query, const Cache& cache, TensorView<O> out,
                  const CallOptions<T>& options = {}, const Selection& selection = {}) const {
    operator()(device, query, cache.view(), out, options, selection);
  }

  /// A cache that this operator reads, keys stored as K and values as V. Where the parts place keys differently, it
  /// holds them unrotated. Throws what KeyValueCache throws.
  template <class K, class V = K>
  auto make_cache(CacheShape shape, Index sequences, CacheCapacity capacity) const {
    return KeyValueCache<K, KeyPlacement, V>(placed_keys(), shape, sequences, capacity);
  }

  /// As make_cache, in `blocks` blocks of `block_size` tokens.
  template <class K, class V = K>
  auto make_paged_cache(CacheShape shape, Index blocks, Index block_size) const {
    return PagedCache<K, KeyPlacement, V>(placed_keys(), shape, blocks, block_size);
  }

  /// How all parts place their keys; Unplaced where they do not agree, or do not say.
  using KeyPlacement = detail::CommonPlacement<First, Rest...>;

  /// What a cache or a pool of this operator is made with.
  PlacedKeys<KeyPlacement> placed_keys() const {
    if constexpr (std::is_same_v<KeyPlacement, Unplaced>) {
      return {};
    } else {
      return {config_.chunks, config_.rope};
    }
  }

 private:
  /// The first part whose keys queries may choose from, counted from 0.
  static constexpr Index selectable_part = [] {
    constexpr bool selectable[] = {SelectablePart<First>, SelectablePart<Rest>...};
    return static_cast<Index>(std::find(std::begin(selectable), std::end(selectable), true) - std::begin(selectable));
  }();

  template <class Source>
  void check_placement([[maybe_unused]] const Source& source) const {
    if constexpr (has_placed_keys<Source>) {
      static_assert(std::is_same_v<typename Source::KeyPlacement, KeyPlacement>,
                    "the cache's keys are not placed as this operator places them: use its make_cache");
      const PlacedKeys<KeyPlacement>& placed = source.placement();
      detail::check_placed("cache", placed, config_.chunks, config_.rope, "the operator");
    }
  }

  AttentionConfig<Layout> config_;
  double softcap_ = 0;  // 0: none
};

}  // namespace dca
