// What is behind the classes of the compiled operator.
#pragma once

#include <dca/compiled.hpp>
#include <utility>
#include <variant>

#include "runtime_pool.hpp"

namespace dca::compiled {

struct [[gnu::visibility("hidden")]] Workspace::Implementation {
  dca::Workspace workspace;
};

struct [[gnu::visibility("hidden")]] Choices::Implementation {
  std::vector<ChosenBlocks> choices;
};

/// The class of caches that keep keys as any storage: rotated in float, or in double where they are stored so.
template <template <class> class Cache>
using InEither = std::variant<Cache<RuntimePool<float>>, Cache<RuntimePool<double>>>;

template <class Pool>
using Itself = Pool;

struct [[gnu::visibility("hidden")]] BlockPool::Implementation {
  InEither<Itself> pool;
};

struct [[gnu::visibility("hidden")]] KeyValueCache::Implementation {
  InEither<CacheOf> cache;
};

struct [[gnu::visibility("hidden")]] PagedCache::Implementation {
  InEither<PagedCacheOf> cache;
};

struct [[gnu::visibility("hidden")]] Attention::Implementation {
  explicit Implementation(const AttentionConfig& config);

  detail::Composition composition() const { return {layout, parts}; }
  DType scalar;
  std::optional<ChunkLayout> chunks;
  const void* layout = nullptr;  // chunks, or the caller's
  std::vector<PartFunctions> parts;
  Index selectable = -1;
  RotaryEmbedding rope;
  std::optional<double> softmax_scale;
  double logit_softcap = 0;
  std::shared_ptr<const Placement> placement;  // null where parts place keys differently
};

/// What the classes let their neighbours see. Throws std::invalid_argument for an object that was moved from.
struct Access {
  using Operator = Attention::Implementation;

  template <class Handle>
  static typename Handle::Implementation& of(Handle& handle) {
    check(handle);
    return *handle.implementation_;
  }
  template <class Handle>
  static const typename Handle::Implementation& of(const Handle& handle) {
    check(handle);
    return *handle.implementation_;
  }
  template <class Handle, class... Arguments>
  static Handle make(Arguments&&... arguments) {
    return Handle(new typename Handle::Implementation{std::forward<Arguments>(arguments)...});
  }

 private:
  template <class Handle>
  static void check(const Handle& handle) {
    if (handle.implementation_ == nullptr) detail::fail("object", "moved from", "must be one that holds something");
  }
};

}  // namespace dca::compiled
