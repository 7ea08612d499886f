// What the layer_cache_*.cpp instantiate, each for one type of storage.
#pragma once

#include "error.hpp"
#include "layer_cache.hpp"

namespace dca_lm {

/// Cache is a KeyValueCache or a PagedCache of the Attend's. Both show themselves to the operator as the same type, so
/// that there is one kernel for the two.
template <class Attend, class Cache>
class LayerCacheOf final : public LayerCache {
 public:
  LayerCacheOf(const Attend& attend, const InterSelection& inter, Cache cache)
      : attend_(attend), inter_(inter), cache_(std::move(cache)) {}

  void append(const Eigen::ThreadPoolDevice& device, Index sequence, dca::TensorView<const float> key,
              dca::TensorView<const float> value) override {
    cache_.append(device, sequence, key, value);
  }

  void truncate(Index sequence, Index length) override { cache_.truncate(sequence, length); }

  void attend(const Eigen::ThreadPoolDevice& device, const RaggedQueries& queries, dca::TensorView<float> out,
              dca::Workspace& workspace) const override {
    const auto run = [&](const auto& selection) {
      attend_(device, queries.rows, cache_.view(queries.sequences), out,
              {.cu_seqlens = queries.cu_seqlens, .workspace = &workspace, .chosen = queries.chosen}, selection);
    };
    if constexpr (Attend::may_select) {
      std::visit(run, inter_);
    } else {
      run(dca::AllChunks{});
    }
  }

  Index bytes() const override {
    if constexpr (requires { cache_.bytes(); }) {
      return cache_.bytes();
    } else {
      return cache_.pool().bytes();
    }
  }

 private:
  const Attend& attend_;
  InterSelection inter_;
  Cache cache_;
};

template <class K, class Attend>
std::unique_ptr<LayerCache> make_layer_cache_of(const Attend& attend, const InterSelection& inter,
                                                dca::CacheShape shape, const CacheSize& size) {
  if (!Attend::may_select && !std::holds_alternative<dca::AllChunks>(inter)) {
    throw Error("--inter: only dca, with any frequencies, and intra+inter have distant chunks to choose from");
  }
  if (const auto* top = std::get_if<dca::TopBlocks>(&inter)) shape.summary_block = top->block;
  if (size.block_size == 0) {
    auto cache = attend.template make_cache<K>(shape, size.sequences, {.tokens = size.tokens});
    return std::make_unique<LayerCacheOf<Attend, decltype(cache)>>(attend, inter, std::move(cache));
  }
  auto cache = attend.template make_paged_cache<K>(shape, size.tokens / size.block_size, size.block_size);
  for (Index sequence = 0; sequence < size.sequences; ++sequence) cache.add();
  return std::make_unique<LayerCacheOf<Attend, decltype(cache)>>(attend, inter, std::move(cache));
}

template <class K>
std::unique_ptr<LayerCache> make_layer_cache(const Operator& attend, const InterSelection& inter, dca::CacheShape shape,
                                             const CacheSize& size) {
  return std::visit(
      [&](const auto& one) -> std::unique_ptr<LayerCache> { return make_layer_cache_of<K>(one, inter, shape, size); },
      attend);
}

}  // namespace dca_lm
