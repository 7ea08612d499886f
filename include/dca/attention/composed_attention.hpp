// The operator: any composition of parts under one softmax.
#pragma once

#include <tuple>

#include "dca/attention/checks.hpp"
#include "dca/attention/options.hpp"
#include "dca/kernel/tile_loop.hpp"
#include "dca/kv/dense.hpp"
#include "dca/positions/chunk_part.hpp"

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

  /// Throws std::invalid_argument where softmax_scale is not finite or logit_softcap not positive and finite.
  explicit ComposedAttention(AttentionConfig<Layout> config) : config_(std::move(config)) {
    if (config_.softmax_scale && !std::isfinite(*config_.softmax_scale)) {
      detail::fail("softmax_scale", std::to_string(*config_.softmax_scale), "must be finite");
    }
    if (config_.logit_softcap) detail::checked_positive("logit_softcap", *config_.logit_softcap);
  }

  const AttentionConfig<Layout>& config() const { return config_; }

  /// out[b, r, h] = sum over visible keys j of softmax(logit)(j) * value[b, j, h / (heads / kv_heads)].
  ///
  /// query [batch, q_len, heads, head_dim], key [batch, kv_len, kv_heads, head_dim], value [batch, kv_len, kv_heads,
  /// v_head_dim], out [batch, q_len, heads, v_head_dim]; all may drop the batch. Keys and queries come unrotated. Query
  /// row r stands at absolute position q_offset + r, key j at j. Runs on any Eigen CPU device, with scratch from its
  /// allocator; the same bits for any number of threads and any batch.
  /// Throws std::invalid_argument for arguments that do not fit together, std::bad_alloc without scratch; nothing is
  /// written then. q_len 0 does nothing.
  template <class Device, class Q, class K, class V, class O>
  void operator()(const Device& device, TensorView<Q> query, TensorView<K> key, TensorView<V> value, TensorView<O> out,
                  const CallOptions<T>& options = {}) const {
    static_assert(!std::is_const_v<O>, "out must be writable");
    using detail::checked_view;
    const TensorView<const Q> q = checked_view<const Q>("query", query, 4, true);
    const TensorView<const K> k = checked_view<const K>("key", key, 4, true);
    const TensorView<const V> v = checked_view<const V>("value", value, 4, true);
    detail::AttentionCall<T, std::remove_const_t<Q>, O> call{q, checked_view("out", out, 4, true), {}, nullptr, 0};
    check_shapes(q.shape, k.shape, v.shape, call.out.shape);
    call.q_offset = checked_offset(options.q_offset, q.shape[1], k.shape[1]);
    call.sink_logits = checked_sinks(options.sink_logits, q.shape[2]);
    if (options.lse.data != nullptr || options.lse.shape.rank() != 0) call.lse = checked_lse(options.lse, q.shape);
    check_memory(call, k, v, options.sink_logits);
    if (q.shape[0] == 0 || q.shape[1] == 0) return;

    const DenseKeyValues<std::remove_const_t<K>, std::remove_const_t<V>> source(k, v);
    const detail::AttentionParams<Layout> params{
        config_.chunks, config_.rope,
        config_.softmax_scale ? *config_.softmax_scale : 1.0 / std::sqrt(static_cast<double>(q.shape[3])),
        config_.logit_softcap.value_or(0.0)};
    detail::run_tile_loop<T, First, Rest...>(device, params, source, call);
  }

 private:
  void check_shapes(const Extents& q, const Extents& k, const Extents& v, const Extents& out) const {
    using detail::check_equal;
    check_equal("key", "batch", k[0], "query", q[0]);
    check_equal("value", "batch", v[0], "query", q[0]);
    check_equal("out", "batch", out[0], "query", q[0]);
    check_equal("value", "length", v[1], "key", k[1]);
    check_equal("out", "length", out[1], "query", q[1]);
    check_equal("value", "kv_heads", v[2], "key", k[2]);
    check_equal("out", "heads", out[2], "query", q[2]);
    check_equal("key", "head_dim", k[3], "query", q[3]);
    check_equal("out", "v_head_dim", out[3], "value", v[3]);
    if (q[2] % k[2] != 0) {
      detail::fail("key",
                   std::to_string(k[2]) + " kv_heads do not divide the " + std::to_string(q[2]) + " heads of query",
                   "heads must be a multiple of kv_heads");
    }
    if (config_.rope.rotary_dim() > q[3]) {
      detail::fail("rotary_dim", std::to_string(config_.rope.rotary_dim()),
                   "must be at most head_dim, " + std::to_string(q[3]));
    }
    check_dim("query", "head_dim", q[3]);
    check_dim("value", "v_head_dim", v[3]);
  }

  /// Scratch grows with the features of a head: no sane model comes near this, and no product of sizes overflows below.
  static void check_dim(const char* argument, const char* what, Index dim) {
    constexpr Index max_dim = Index{1} << 24;
    if (dim > max_dim) {
      detail::fail(argument, std::string(what) + " " + std::to_string(dim),
                   "must be at most " + std::to_string(max_dim));
    }
  }

  static Index checked_offset(std::optional<Index> q_offset, Index q_len, Index kv_len) {
    if (!q_offset && q_len > kv_len) {
      detail::fail("query", std::to_string(q_len) + " rows", "must be at most kv_len, " + std::to_string(kv_len));
    }
    const Index offset = q_offset.value_or(kv_len - q_len);
    if (offset < 0 || q_len > kv_len || offset > kv_len - q_len) {
      detail::fail("q_offset", std::to_string(offset) + " with " + std::to_string(q_len) + " query rows",
                   "must be at least 0, and q_offset + q_len at most kv_len, " + std::to_string(kv_len));
    }
    return offset;
  }

  static const T* checked_sinks(std::span<const T> sinks, Index heads) {
    if (sinks.empty()) return nullptr;
    detail::check_equal("sink_logits", "size", static_cast<Index>(sinks.size()), "heads", heads);
    return sinks.data();
  }

  static TensorView<T> checked_lse(TensorView<T> lse, const Extents& q) {
    lse = detail::checked_view("lse", lse, 3, false);
    detail::check_equal("lse", "batch", lse.shape[0], "query", q[0]);
    detail::check_equal("lse", "length", lse.shape[1], "query", q[1]);
    detail::check_equal("lse", "heads", lse.shape[2], "query", q[2]);
    return lse;
  }

  template <class Call, class K, class V>
  static void check_memory(const Call& call, const TensorView<K>& k, const TensorView<V>& v, std::span<const T> sinks) {
    const auto* sink_bytes = reinterpret_cast<const char*>(sinks.data());
    const std::pair<const char*, detail::ByteRange> inputs[] = {
        {"query", detail::byte_range(call.query)},
        {"key", detail::byte_range(k)},
        {"value", detail::byte_range(v)},
        {"sink_logits", {sink_bytes, sink_bytes + sinks.size_bytes()}}};
    const detail::ByteRange out = detail::byte_range(call.out), lse = detail::byte_range(call.lse);
    for (const auto& [name, bytes] : inputs) detail::check_disjoint("out", out, name, bytes);
    detail::check_no_self_overlap("out", call.out);
    if (call.lse.data == nullptr) return;
    for (const auto& [name, bytes] : inputs) detail::check_disjoint("lse", lse, name, bytes);
    detail::check_disjoint("lse", lse, "out", out);
    detail::check_no_self_overlap("lse", call.lse);
  }

  AttentionConfig<Layout> config_;
};

}  // namespace dca
