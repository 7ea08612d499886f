#include "layer_cache.hpp"

#include "error.hpp"
#include "messages.hpp"

namespace dca_lm {
namespace {

namespace compiled = dca::compiled;

std::variant<compiled::KeyValueCache, compiled::PagedCache> make_cache(const compiled::Attention& attend, KvType type,
                                                                       const dca::CacheShape& shape,
                                                                       const CacheSize& size) {
  if (size.block_size == 0) return attend.make_cache({type}, shape, size.sequences, {.tokens = size.tokens});
  compiled::PagedCache cache = attend.make_paged_cache({type}, shape, size.tokens / size.block_size, size.block_size);
  for (Index sequence = 0; sequence < size.sequences; ++sequence) cache.add();
  return cache;
}

/// For policies that rank blocks.
dca::CacheShape with_summaries(dca::CacheShape shape, const compiled::Selection& selection) {
  if (selection.policy == compiled::Policy::top_blocks) shape.summary_block = selection.block;
  return shape;
}

}  // namespace

KvType kv_type_of(const std::string& name) {
  if (name == "float") return KvType::float32;
  if (name == "half") return KvType::float16;
  if (name == "bfloat16") return KvType::bfloat16;
  if (name == "int8") return KvType::int8;
  if (name == "int4") return KvType::int4;
  throw Error("--kv-type " + printable(name) + "; must be float, half, bfloat16, int8 or int4");
}

LayerCache::LayerCache(const compiled::Attention& attend, const compiled::Selection& selection, KvType type,
                       dca::CacheShape shape, const CacheSize& size)
    : attend_(&attend),
      selection_(selection),
      cache_(make_cache(attend, type, with_summaries(shape, selection), size)) {}

void LayerCache::append(const dca::Executor& executor, Index sequence, const compiled::ConstTensor& key,
                        const compiled::ConstTensor& value) {
  std::visit([&](auto& cache) { cache.append(executor, sequence, key, value); }, cache_);
}

void LayerCache::truncate(Index sequence, Index length) {
  std::visit([&](auto& cache) { cache.truncate(sequence, length); }, cache_);
}

void LayerCache::attend(const dca::Executor& executor, const compiled::ConstTensor& query, const compiled::Tensor& out,
                        compiled::CallOptions options) const {
  options.selection = selection_;
  std::visit([&](const auto& cache) { (*attend_)(executor, query, cache, out, options); }, cache_);
}

Index LayerCache::bytes() const {
  return std::visit([](const auto& cache) { return cache.bytes(); }, cache_);
}

}  // namespace dca_lm
