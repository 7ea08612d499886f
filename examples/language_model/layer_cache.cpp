#include "layer_cache.hpp"

#include <algorithm>

#include "error.hpp"
#include "messages.hpp"

namespace dca_lm {
namespace {

namespace compiled = dca::compiled;

constexpr Index least_offset_keys = 16;  // of fewer the mean is still much of each key's own
constexpr Index most_offset_keys = 512;  // more change little, and take time

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

bool is_narrow(KvType type) { return type != KvType::float32 && type != KvType::float64; }

}  // namespace

KvType kv_type_of(const std::string& name) {
  if (name == "float") return KvType::float32;
  if (name == "half") return KvType::float16;
  if (name == "bfloat16") return KvType::bfloat16;
  if (name == "int8") return KvType::int8;
  if (name == "int4") return KvType::int4;
  throw Error("--kv-type " + printable(name) + "; must be float, half, bfloat16, int8 or int4");
}

KeyOffset key_offset_of(const std::string& name) {
  if (name == "auto") return KeyOffset::automatic;
  if (name == "off") return KeyOffset::off;
  throw Error("--key-offset " + printable(name) + "; must be auto or off");
}

LayerCache::LayerCache(const compiled::Attention& attend, const compiled::Selection& selection,
                       const KvStorage& storage, dca::CacheShape shape, const CacheSize& size)
    : attend_(&attend),
      selection_(selection),
      kv_heads_(shape.kv_heads),
      head_dim_(shape.head_dim),
      key_offset_is_settled_(storage.key_offset == KeyOffset::off || !is_narrow(storage.type)),
      cache_(make_cache(attend, storage.type, with_summaries(shape, selection), size)) {}

void LayerCache::share_key_offset(const LayerCache& other) {
  set_key_offset(other.key_offset_);
  key_offset_is_settled_ = other.key_offset_is_settled_;
}

std::vector<float> LayerCache::estimated_key_offset(compiled::ConstTensor key) const {
  key.shape[0] = std::min(key.shape[0], most_offset_keys);
  std::vector<float> offset(static_cast<std::size_t>(kv_heads_ * head_dim_));
  attend_->estimate_key_offset(key, offset);
  const bool is_none = std::all_of(offset.begin(), offset.end(), [](float x) { return x == 0; });
  return is_none ? std::vector<float>() : offset;
}

void LayerCache::set_key_offset(const std::vector<float>& offset) {
  if (offset.empty()) return;
  const compiled::ConstTensor rows = compiled::contiguous(offset.data(), {kv_heads_, head_dim_});
  std::visit([&](auto& cache) { cache.set_key_offset(rows); }, cache_);
  key_offset_ = offset;
}

void LayerCache::append(const dca::Executor& executor, Index sequence, const compiled::ConstTensor& key,
                        const compiled::ConstTensor& value) {
  if (!key_offset_is_settled_ && key.shape[0] > 0) {
    if (key.shape[0] >= least_offset_keys) set_key_offset(estimated_key_offset(key));
    key_offset_is_settled_ = true;
  }
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
