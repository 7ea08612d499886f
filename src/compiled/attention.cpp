#include <utility>

#include "implementation.hpp"

namespace dca::compiled {
namespace {

dca::RotaryEmbedding make_rope(const RopeConfig& rope) {
  const auto frequencies = [&]() -> RopeFrequencies {
    if (!rope.inv_freq.empty()) return {.inv_freq = {rope.inv_freq.begin(), rope.inv_freq.end()}};
    switch (rope.scaling) {
      case RopeScaling::none:
        return plain_frequencies(rope.rotary_dim, rope.theta);
      case RopeScaling::linear:
        return linear_frequencies(rope.rotary_dim, rope.theta, rope.factor);
      case RopeScaling::ntk:
        return ntk_frequencies(rope.rotary_dim, rope.theta, rope.factor);
      case RopeScaling::dynamic_ntk:
        return dynamic_ntk_frequencies(
            rope.rotary_dim, rope.theta,
            {.factor = rope.factor, .trained_window = rope.trained_window, .length = rope.length});
      case RopeScaling::yarn:
        return yarn_frequencies(rope.rotary_dim, rope.theta,
                                {.factor = rope.factor,
                                 .trained_window = rope.trained_window,
                                 .beta_fast = rope.beta_fast,
                                 .beta_slow = rope.beta_slow,
                                 .attention_factor = rope.attention_factor});
      case RopeScaling::llama3:
        return llama3_frequencies(rope.rotary_dim, rope.theta,
                                  {.factor = rope.factor,
                                   .low_freq_factor = rope.low_freq_factor,
                                   .high_freq_factor = rope.high_freq_factor,
                                   .trained_window = rope.trained_window});
    }
    detail::fail("rope scaling", detail::to_text(static_cast<int>(rope.scaling)),
                 "must be none, linear, ntk, dynamic_ntk, yarn or llama3");
  };
  RopeFrequencies made = frequencies();
  if (rope.attention_factor) made.attention_factor = *rope.attention_factor;
  if (rope.pairing != RopePairing::half && rope.pairing != RopePairing::interleaved) {
    detail::fail("rope pairing", detail::to_text(static_cast<int>(rope.pairing)), "must be half or interleaved");
  }
  return dca::RotaryEmbedding(
      std::move(made), rope.pairing == RopePairing::half ? dca::RopePairing::half : dca::RopePairing::interleaved);
}

/// Layouts of parts without chunks are all alike.
constexpr Unchunked unchunked;

bool has_chunks(const AttentionConfig& config) {
  return config.own_parts == nullptr && config.composition != Composition::causal;
}

/// The parts of an operator; `chunks` are those of the library's compositions.
OwnParts parts_of(const AttentionConfig& config, const std::optional<ChunkLayout>& chunks) {
  if (const OwnParts* const own = config.own_parts; own != nullptr) {
    const Index count = std::ssize(own->parts);
    if (count == 0) detail::fail("own_parts", "none", "must be at least 1");
    for (const PartFunctions& part : own->parts) {
      if (part.query_position == nullptr || part.key_position == nullptr || part.keys == nullptr) {
        detail::fail("own_parts", "a null function", "all three must be given");
      }
    }
    if (own->selectable < -1 || own->selectable >= count) {
      detail::fail("selectable", detail::to_text(own->selectable),
                   "must be -1 or one of the " + detail::to_text(count) + " parts, counted from 0");
    }
    return *own;
  }
  switch (config.composition) {
    case Composition::dual_chunk:
      return own_parts<InterChunk, SuccessiveChunk, IntraChunk>(*chunks);
    case Composition::causal:
      return own_parts<WholeSequence>(unchunked);
    case Composition::intra_chunk:
      return own_parts<IntraChunk>(*chunks);
    case Composition::successive_chunk:
      return own_parts<SuccessiveChunk>(*chunks);
    case Composition::inter_chunk:
      return own_parts<InterChunk>(*chunks);
  }
  detail::fail("composition", detail::to_text(static_cast<int>(config.composition)),
               "must be dual_chunk, causal, intra_chunk, successive_chunk or inter_chunk");
}

/// Calls f(T{}) with the type of the arithmetic.
template <class F>
decltype(auto) visit_scalar(const char* argument, DType scalar, F&& f) {
  if (scalar == DType::float32) return f(float{});
  if (scalar == DType::float64) return f(double{});
  detail::fail(argument, name_of(scalar), "must be float32 or float64");
}

template <class T>
detail::RowKernels<T> key_kernels(DType dtype, Index features) {
  return visit_storage(
      "key", dtype, [features]<class E>(std::type_identity<E>) { return detail::key_kernels<T, E, true>(features); });
}

template <class T>
detail::RowKernels<T> value_kernels(DType dtype, Index features) {
  return visit_storage("value", dtype,
                       [features]<class E>(std::type_identity<E>) { return detail::value_kernels<T, E>(features); });
}

template <class T>
std::span<const T> sinks_of(const ConstTensor& sink_logits) {
  const TensorView<const T> x = typed_tensor<T>("sink_logits", sink_logits);
  if (x.shape.rank() == 0) return {};
  if (x.shape.rank() != 1 || (x.shape[0] > 1 && x.strides[0] != 1) || (x.data == nullptr && x.shape[0] != 0)) {
    detail::fail("sink_logits", "shape " + detail::describe(x.shape) + " with strides " + detail::describe(x.strides),
                 "must be [heads], contiguous, and have data");
  }
  if (x.shape[0] <= 0) detail::fail("sink_logits", "shape " + detail::describe(x.shape), "must be [heads]");
  return {x.data, static_cast<std::size_t>(x.shape[0])};
}

}  // namespace

Attention::Implementation::Implementation(const AttentionConfig& config)
    : scalar(config.scalar), rope(make_rope(config.rope)), softmax_scale(config.softmax_scale) {
  if (has_chunks(config)) chunks.emplace(config.chunks);
  const OwnParts own = parts_of(config, chunks);
  parts.assign(own.parts.begin(), own.parts.end());
  layout = own.layout;
  selectable = own.selectable;
  logit_softcap = visit_scalar("scalar", scalar, [&]<class T>(T) {
    return detail::checked_logit_options<T>(softmax_scale, config.logit_softcap, rope);
  });
  if (own.share_key_positions) {
    placement = std::make_shared<const Placement>(Placement{rope, chunks, layout, parts.front().key_position});
  }
}

/// One call of an operator.
class AttentionRun {
 public:
  AttentionRun(const Attention& attention, const Executor& executor, const ConstTensor& query, const Tensor& out,
               const CallOptions& options)
      : attention_(Access::of(attention)), executor_(executor), query_(query), out_(out), options_(options) {}

  void on_tensors(const ConstTensor& key, const ConstTensor& value) const {
    if (options_.sequences) detail::fail("sequences", "given", "must be left out for keys and values in tensors");
    const detail::AnyTensor keys = any_tensor("key", key), values = any_tensor("value", value);
    const auto source = options_.key_cu_seqlens.empty()
                            ? detail::KeyValueTensors(keys, values)
                            : detail::KeyValueTensors(keys, values, options_.key_cu_seqlens);
    run(source, {key.dtype, value.dtype}, false);
  }

  template <class Pool>
  void on_pool(const Pool& pool, std::span<const BlockTable> tables) const {
    if (options_.sequences) {
      on_view(pool.placement(), PagedKeyValues<Pool>(pool, tables, *options_.sequences));
    } else {
      on_view(pool.placement(), PagedKeyValues<Pool>(pool, tables));
    }
  }

  template <class Pool>
  void on_cache(const CacheOf<Pool>& cache) const {
    const PagedKeyValues<Pool> view = options_.sequences ? cache.view(*options_.sequences) : cache.view();
    on_view(view.placement(), view);
  }

  template <class Pool>
  void on_cache(const PagedCacheOf<Pool>& cache) const {
    if (!options_.sequences) detail::fail("sequences", "not given", "must name the sequences of a PagedCache");
    on_view(cache.pool().placement(), cache.view(*options_.sequences));
  }

 private:
  struct Types {
    DType key, value;
  };

  template <class View>
  void on_view(const Placed& placed, const View& view) const {
    if (!options_.key_cu_seqlens.empty()) {
      detail::fail("key_cu_seqlens", "given", "must be left out for caches, whose sequences have lengths");
    }
    check_placed("cache", placed.keys, attention_.placement, "the operator");
    run(view, {placed.key, placed.value}, placed.keys != nullptr);
  }

  template <class Source>
  void run(const Source& source, Types types, bool placed) const {
    visit_scalar("scalar", attention_.scalar, [&]<class T>(T) {
      const detail::SourceRef<T> keys(source, key_kernels<T>(types.key, source.head_dim()),
                                      value_kernels<T>(types.value, source.v_head_dim()), placed);
      run_in<T>(keys);
    });
  }

  template <class T>
  void run_in(const detail::SourceRef<T>& keys) const {
    const detail::QueryTensor<T> query(any_tensor("query", query_),
                                       visit_number("query", query_.dtype, []<class Q>(std::type_identity<Q>) {
                                         return detail::decode_function<T, Q>();
                                       }));
    const detail::OutTensor<T> out(
        any_tensor("out", out_),
        visit_number("out", out_.dtype, []<class O>(std::type_identity<O>) { return detail::write_function<T, O>(); }));
    dca::CallOptions<T> options;
    options.q_offset = options_.q_offset;
    options.lse = typed_tensor<T>("lse", options_.lse);
    options.sink_logits = sinks_of<T>(options_.sink_logits);
    options.cu_seqlens = options_.cu_seqlens;
    if (options_.workspace != nullptr) options.workspace = &Access::of(*options_.workspace).workspace;
    options.skipped = typed_tensor<T>("skipped", options_.skipped);
    if (options_.chosen != nullptr) options.chosen = &Access::of(*options_.chosen).choices;
    const detail::OperatorRef attention{attention_.composition(), attention_.rope, attention_.softmax_scale,
                                        attention_.logit_softcap, attention_.selectable};
    const auto select = [&](const auto& policy) {
      if (attention_.selectable < 0) {
        detail::fail("selection", "a policy", "needs a composition with one selectable part, such as dual_chunk");
      }
      const detail::SelectionRef<T> selection(policy);
      const detail::SelectedKernels<T> selected{selection, detail::attend_selected<T>};
      detail::checked_call<T>(executor_, attention, query, keys, out, options, &selected);
    };
    const Selection& selection = options_.selection;
    switch (selection.policy) {
      case Policy::all:
        return detail::checked_call<T>(executor_, attention, query, keys, out, options, nullptr);
      case Policy::first_and_recent:
        return select(FirstAndRecent{.first = selection.first, .recent = selection.recent, .block = selection.block});
      case Policy::top_blocks:
        return select(TopBlocks{.keys = selection.keys,
                                .block = selection.block,
                                .query_block = selection.query_block,
                                .trust_in_bound = selection.trust_in_bound});
    }
    detail::fail("selection policy", detail::to_text(static_cast<int>(selection.policy)),
                 "must be all, first_and_recent or top_blocks");
  }

  const Access::Operator& attention_;
  const Executor& executor_;
  const ConstTensor& query_;
  const Tensor& out_;
  const CallOptions& options_;
};

Attention::Attention(const AttentionConfig& config) : implementation_(new Implementation(config)) {}
Attention::~Attention() { delete implementation_; }
Attention::Attention(Attention&& other) noexcept : implementation_(std::exchange(other.implementation_, nullptr)) {}
Attention& Attention::operator=(Attention&& other) noexcept {
  std::swap(implementation_, other.implementation_);
  return *this;
}

void Attention::operator()(const Executor& executor, const ConstTensor& query, const ConstTensor& key,
                           const ConstTensor& value, const Tensor& out, const CallOptions& options) const {
  AttentionRun(*this, executor, query, out, options).on_tensors(key, value);
}

void Attention::operator()(const Executor& executor, const ConstTensor& query, const KeyValueCache& cache,
                           const Tensor& out, const CallOptions& options) const {
  const AttentionRun run(*this, executor, query, out, options);
  std::visit([&](const auto& one) { run.on_cache(one); }, Access::of(cache).cache);
}

void Attention::operator()(const Executor& executor, const ConstTensor& query, const PagedCache& cache,
                           const Tensor& out, const CallOptions& options) const {
  const AttentionRun run(*this, executor, query, out, options);
  std::visit([&](const auto& one) { run.on_cache(one); }, Access::of(cache).cache);
}

void Attention::operator()(const Executor& executor, const ConstTensor& query, const BlockPool& pool,
                           std::span<const BlockTable> tables, const Tensor& out, const CallOptions& options) const {
  const AttentionRun run(*this, executor, query, out, options);
  std::visit([&](const auto& one) { run.on_pool(one, tables); }, Access::of(pool).pool);
}

namespace {

/// A pool, or a cache, of which `make` makes an InEither<..> for given storages.
template <template <class> class Cache, class... Sizes>
InEither<Cache> make_in_either(const std::shared_ptr<const Placement>& keys, StorageTypes types,
                               const Sizes&... sizes) {
  const Placed placed{keys, types.key, types.value.value_or(types.key)};
  const auto known = [](auto) {};
  visit_storage("key", placed.key, known);
  visit_storage("value", placed.value, known);
  if (types.key == DType::float64) {
    return InEither<Cache>(std::in_place_index<1>, placed, sizes...);
  }
  return InEither<Cache>(std::in_place_index<0>, placed, sizes...);
}

}  // namespace

KeyValueCache Attention::make_cache(StorageTypes types, const CacheShape& shape, Index sequences,
                                    CacheCapacity capacity) const {
  return Access::make<KeyValueCache>(
      make_in_either<CacheOf>(Access::of(*this).placement, types, shape, sequences, capacity));
}

PagedCache Attention::make_paged_cache(StorageTypes types, const CacheShape& shape, Index blocks,
                                       Index block_size) const {
  return Access::make<PagedCache>(
      make_in_either<PagedCacheOf>(Access::of(*this).placement, types, shape, blocks, block_size));
}

BlockPool Attention::make_pool(StorageTypes types, const CacheShape& shape, Index blocks, Index block_size) const {
  return Access::make<BlockPool>(make_in_either<Itself>(Access::of(*this).placement, types, shape, blocks, block_size));
}

void Attention::estimate_key_offset(const ConstTensor& key, std::span<float> offset,
                                    const KeyOffsetOptions& options) const {
  const detail::DecodeRow<double> decode = visit_number(
      "key", key.dtype, []<class X>(std::type_identity<X>) { return detail::decode_function<double, X>(); });
  detail::write_key_offset(Access::of(*this).rope, any_tensor("key", key), decode, options, offset);
}

void Attention::position_map(Index first_query, Index queries, Index first_key, Index keys, Index* out) const {
  const auto check = [](const char* argument, Index value) {
    if (value < 0) detail::fail(argument, detail::to_text(value), "must be at least 0");
  };
  check("first_query", first_query);
  check("queries", queries);
  check("first_key", first_key);
  check("keys", keys);
  detail::checked_sum("queries", first_query, queries);
  const Index last = detail::checked_sum("keys", first_key, keys);
  detail::checked_product("keys", detail::checked_product("keys", queries, keys), Index{sizeof(Index)});
  if (queries == 0 || keys == 0) return;
  if (out == nullptr) detail::fail("out", "no data", "must have room for queries times keys");
  const detail::Composition composition = Access::of(*this).composition();
  for (Index row = 0; row < queries; ++row) {
    Index* const to = out + row * keys;
    std::fill_n(to, keys, unseen);
    for (Index part = 0; part < composition.parts(); ++part) {
      const KeyRange seen = composition.keys(part, first_query + row);
      const Index position = composition.query_position(part, first_query + row);
      for (Index j = std::max(seen.first, first_key); j < std::min(seen.last, last); ++j) {
        to[j - first_key] = position - composition.key_position(part, j);
      }
    }
  }
}

Choices::Choices() : implementation_(new Implementation) {}
Choices::~Choices() { delete implementation_; }
Choices::Choices(Choices&& other) noexcept : implementation_(std::exchange(other.implementation_, nullptr)) {}
Choices& Choices::operator=(Choices&& other) noexcept {
  std::swap(implementation_, other.implementation_);
  return *this;
}

Index Choices::size() const { return std::ssize(Access::of(*this).choices); }

Choices::Choice Choices::operator[](Index k) const {
  if (k < 0 || k >= size()) {
    detail::fail("choice", detail::to_text(k), "must be at least 0 and less than size, " + detail::to_text(size()));
  }
  const ChosenBlocks& one = Access::of(*this).choices[static_cast<std::size_t>(k)];
  return {one.query.sequence, one.query.kv_head, one.query.queries, one.query.keys, one.blocks};
}

void Choices::clear() { Access::of(*this).choices.clear(); }

void merge(const Executor& executor, std::span<const ConstPartialState> states, const PartialState& result,
           const ConstTensor& sink_logits) {
  visit_scalar("result", result.out.dtype, [&]<class T>(T) {
    std::vector<dca::PartialState<const T>> read;
    for (const ConstPartialState& state : states) {
      read.push_back({typed_tensor<T>("states", state.out), typed_tensor<T>("states", state.lse)});
    }
    const dca::PartialState<T> written{typed_tensor<T>("result", result.out), typed_tensor<T>("result", result.lse)};
    dca::merge(executor, std::span<const dca::PartialState<const T>>(read), written, sinks_of<T>(sink_logits));
  });
}

namespace {

Index copy_sizes(const std::vector<ChunkConfig>& found, std::span<ChunkConfig> to) {
  std::copy_n(found.begin(), std::min(found.size(), to.size()), to.begin());
  return std::ssize(found);
}

}  // namespace

Index chunk_sizes_to_try(Index trained_window, std::span<ChunkConfig> sizes) {
  return copy_sizes(dca::chunk_sizes_to_try(trained_window), sizes);
}

Index local_windows_to_try(Index trained_window, Index chunk_size, std::span<ChunkConfig> sizes) {
  return copy_sizes(dca::local_windows_to_try(trained_window, chunk_size), sizes);
}

KernelsInUse kernels_in_use() {
  const KernelInfo& info = detail::kernels().info;
  return {info.instruction_set, info.float_packet_size, info.double_packet_size};
}

const char* version() { return DCA_VERSION; }

}  // namespace dca::compiled
