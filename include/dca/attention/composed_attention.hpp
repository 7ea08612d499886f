// The operator: any composition of parts under one softmax.
#pragma once

#include "dca/attention/options.hpp"
#include "dca/kernel/logit_scales.hpp"
#include "dca/kernel/tile_loop.hpp"
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

  /// Throws std::invalid_argument where softmax_scale or logit_softcap is outside the range given at AttentionConfig.
  explicit ComposedAttention(AttentionConfig<Layout> config) : config_(std::move(config)) {
    if (config_.softmax_scale) {
      if (!std::isfinite(*config_.softmax_scale)) {
        detail::fail("softmax_scale", detail::to_text(*config_.softmax_scale), "must be finite");
      }
      check_scales(std::max<Index>(config_.rope.rotary_dim(), 1));
    }
    if (config_.logit_softcap) softcap_ = detail::checked_softcap<T>(*config_.logit_softcap);
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
    const auto q = detail::checked_view<const Q>("query", query, 4, true);
    detail::AttentionCall<T, std::remove_const_t<Q>, O> call{
        q, detail::checked_view("out", out, 4, true), {}, {}, nullptr, options.q_offset, options.cu_seqlens};
    check_shapes(q.shape, source, call.out.shape);
    check_placement(source);
    check_sequences(call, source);
    call.sink_logits = checked_sinks(options.sink_logits, q.shape[2]);
    call.lse = checked_rows("lse", options.lse, q.shape);
    call.skipped = checked_rows("skipped", options.skipped, q.shape);
    check_memory(call, source, options.sink_logits);
    check_selection(source, selection, call.skipped.data != nullptr);
    if (q.shape[0] == 0 || q.shape[1] == 0) return;

    const detail::AttentionParams<Layout> params{config_.chunks, config_.rope, softmax_scale(q.shape[3]), softcap_};
    detail::TileLoop<T, Device, Layout, Source, std::remove_const_t<Q>, O, Selection, First, Rest...>(
        device, params, source, call, selection)
        .run(options.workspace, options.chosen);
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
  template <class Source>
  void check_shapes(const Extents& q, const Source& source, const Extents& out) const {
    using detail::check_equal;
    check_equal("out", "batch", out[0], "query", q[0]);
    check_equal("out", "length", out[1], "query", q[1]);
    check_equal("out", "heads", out[2], "query", q[2]);
    check_equal("key", "head_dim", source.head_dim(), "query", q[3]);
    check_equal("out", "v_head_dim", out[3], "value", source.v_head_dim());
    if (q[2] % source.kv_heads() != 0) {
      detail::fail(
          "key",
          std::to_string(source.kv_heads()) + " kv_heads do not divide the " + std::to_string(q[2]) + " heads of query",
          "heads must be a multiple of kv_heads");
    }
    if (config_.rope.rotary_dim() > q[3]) {
      detail::fail("rotary_dim", std::to_string(config_.rope.rotary_dim()),
                   "must be at most head_dim, " + std::to_string(q[3]));
    }
    check_dim("query", "head_dim", q[3]);
    check_dim("value", "v_head_dim", source.v_head_dim());
    check_scales(q[3]);
  }

  double softmax_scale(Index head_dim) const {
    return config_.softmax_scale.value_or(1.0 / std::sqrt(static_cast<double>(head_dim)));
  }

  void check_scales(Index head_dim) const {
    const Index rotary_dim = config_.rope.rotary_dim();
    detail::check_logit_scales<T>(softmax_scale(head_dim), config_.rope.attention_factor(), rotary_dim > 0,
                                  head_dim > rotary_dim);
  }

  template <class Source>
  void check_placement([[maybe_unused]] const Source& source) const {
    if constexpr (has_placed_keys<Source>) {
      static_assert(std::is_same_v<typename Source::KeyPlacement, KeyPlacement>,
                    "the cache's keys are not placed as this operator places them: use its make_cache");
      const PlacedKeys<KeyPlacement>& placed = source.placement();
      detail::check_placed("cache", placed, config_.chunks, config_.rope, "the operator");
    }
  }

  template <class Call, class Source>
  static void check_sequences(const Call& call, const Source& source) {
    if (call.cu_seqlens.empty()) {
      detail::check_equal("key", "batch", source.sequences(), "query", call.query.shape[0]);
    } else {
      detail::check_equal("query", "batch", call.query.shape[0], "a ragged tensor", 1);
      detail::check_cu_seqlens("cu_seqlens", call.cu_seqlens, call.query.shape[1]);
      detail::check_equal("cu_seqlens", "sequences", static_cast<Index>(call.cu_seqlens.size()) - 1, "key",
                          source.sequences());
    }
    for (Index sequence = 0; sequence < source.sequences(); ++sequence) {
      const Index kv_len = source.length(sequence);
      const detail::QueryRun run = call.queries(sequence, kv_len);
      if (!call.q_offset && run.count > kv_len) {
        detail::fail("query", std::to_string(run.count) + " rows", "must be at most kv_len, " + std::to_string(kv_len));
      }
      if (run.position < 0 || run.count > kv_len || run.position > kv_len - run.count) {
        detail::fail("q_offset", std::to_string(run.position) + " with " + std::to_string(run.count) + " query rows",
                     "must be at least 0, and q_offset + q_len at most kv_len, " + std::to_string(kv_len));
      }
    }
  }

  /// No model comes near this limit; below it no product of sizes overflows.
  static void check_dim(const char* argument, const char* what, Index dim) {
    constexpr Index max_dim = Index{1} << 24;
    if (dim > max_dim) {
      detail::fail(argument, std::string(what) + " " + std::to_string(dim),
                   "must be at most " + std::to_string(max_dim));
    }
  }

  static const T* checked_sinks(std::span<const T> sinks, Index heads) {
    if (sinks.empty()) return nullptr;
    detail::check_equal("sink_logits", "size", static_cast<Index>(sinks.size()), "heads", heads);
    return sinks.data();
  }

  /// An optional output [batch, q_len, heads].
  static TensorView<T> checked_rows(const char* argument, TensorView<T> x, const Extents& q) {
    if (x.data == nullptr && x.shape.rank() == 0) return {};
    x = detail::checked_view(argument, x, 3, false);
    detail::check_equal(argument, "batch", x.shape[0], "query", q[0]);
    detail::check_equal(argument, "length", x.shape[1], "query", q[1]);
    detail::check_equal(argument, "heads", x.shape[2], "query", q[2]);
    return x;
  }

  /// A call that reads summaries from a cache needs summary_block equal to the policy's block_size.
  template <class Source, class Selection>
  static void check_selection([[maybe_unused]] const Source& source, [[maybe_unused]] const Selection& selection,
                              [[maybe_unused]] bool wants_skipped) {
    if constexpr (!std::is_same_v<Selection, AllChunks>) {
      constexpr Index most = Index{1} << 24;
      const std::pair<const char*, Index> sizes[] = {{"selection block_size", selection.block_size()},
                                                     {"selection queries", selection.queries()}};
      for (const auto& [name, size] : sizes) {
        if (size < 1 || size > most)
          detail::fail(name, std::to_string(size), "must be from 1 to " + std::to_string(most));
      }
      if constexpr (RankSelection<Selection, T>) {
        const double optimism = selection.optimism();
        if (!(optimism >= 0 && optimism <= 1)) {
          detail::fail("selection optimism", std::to_string(optimism), "must be from 0 to 1");
        }
      }
      if constexpr (requires { selection.check(); }) selection.check();
      if constexpr (SummarisedSource<Source, T>) {
        if (RankSelection<Selection, T> || wants_skipped) {
          detail::check_equal("cache", "summary_block", source.summary_block(), "the selection's blocks",
                              selection.block_size());
        }
      }
    }
  }

  template <class Call, class Source>
  static void check_memory(const Call& call, const Source& source, std::span<const T> sinks) {
    detail::NamedRange inputs[] = {{"query", detail::byte_range(call.query)},
                                   {"sink_logits", detail::byte_range(sinks)},
                                   {"key", {nullptr, nullptr}},
                                   {"value", {nullptr, nullptr}}};
    if constexpr (detail::HasMemory<Source>) {  // caches own theirs
      inputs[2] = source.memory()[0];
      inputs[3] = source.memory()[1];
    }
    const detail::ByteRange out = detail::byte_range(call.out);
    for (const auto& [name, bytes] : inputs) detail::check_disjoint("out", out, name, bytes);
    detail::check_no_self_overlap("out", call.out);
    const std::pair<const char*, const TensorView<T>&> rows[] = {{"lse", call.lse}, {"skipped", call.skipped}};
    for (const auto& [name, view] : rows) {
      if (view.data == nullptr) continue;
      const detail::ByteRange written = detail::byte_range(view);
      for (const auto& [input, bytes] : inputs) detail::check_disjoint(name, written, input, bytes);
      detail::check_disjoint(name, written, "out", out);
      detail::check_no_self_overlap(name, view);
    }
    if (call.lse.data != nullptr && call.skipped.data != nullptr) {
      detail::check_disjoint("skipped", detail::byte_range(call.skipped), "lse", detail::byte_range(call.lse));
    }
  }

  AttentionConfig<Layout> config_;
  double softcap_ = 0;  // 0: none
};

}  // namespace dca
