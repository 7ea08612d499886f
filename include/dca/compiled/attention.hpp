// The compiled operator: Dual Chunk Attention with types as values.
#pragma once

#include <limits>

#include "dca/compiled/caches.hpp"
#include "dca/compiled/config.hpp"
#include "dca/kv/key_offset_options.hpp"

namespace dca::compiled {

/// What a policy chose, for inspection: calls append to it.
class [[gnu::visibility("default")]] Choices {
 public:
  /// As dca::ChosenBlocks. Valid until the next call that appends, and as long as the Choices.
  struct Choice {
    Index sequence, kv_head;        // of the call, counted from 0
    KeyRange queries, keys;         // absolute positions: who chose, and among which keys
    std::span<const Index> blocks;  // ascending
  };

  Choices();
  ~Choices();
  Choices(Choices &&) noexcept;
  Choices& operator=(Choices&&) noexcept;

  Index size() const;
  /// Throws std::invalid_argument unless 0 <= k < size().
  Choice operator[](Index k) const;
  void clear();

 private:
  friend struct Access;
  struct Implementation;
  Implementation* implementation_;
};

/// A relative position that no query has: what `position_map` writes for keys that are not seen.
inline constexpr Index unseen = std::numeric_limits<Index>::min();

/// dca::ComposedAttention, compiled once in dca::kernels for several instruction sets: the types of tensors, storages
/// and arithmetic are values, and the same errors are thrown. Its results are those of the templates compiled for the
/// instruction set at work, bit for bit.
///
/// It holds no state of a call: one may serve many threads.
class [[gnu::visibility("default")]] Attention {
 public:
  /// Throws std::invalid_argument where a field is out of range.
  explicit Attention(const AttentionConfig& config);
  ~Attention();
  Attention(Attention &&) noexcept;
  Attention& operator=(Attention&&) noexcept;

  /// query [batch, q_len, heads, head_dim], key [batch, kv_len, kv_heads, head_dim], value [batch, kv_len, kv_heads,
  /// v_head_dim], out [batch, q_len, heads, v_head_dim], of any number types; all may drop the batch. With
  /// options.key_cu_seqlens key and value are [total, ..], and with options.cu_seqlens query and out.
  void operator()(const Executor& executor, const ConstTensor& query, const ConstTensor& key, const ConstTensor& value,
                  const Tensor& out, const CallOptions& options = {}) const;
  /// As above, with the keys and values of a cache's sequences: those of options.sequences, which a PagedCache needs,
  /// or all.
  void operator()(const Executor& executor, const ConstTensor& query, const KeyValueCache& cache, const Tensor& out,
                  const CallOptions& options = {}) const;
  void operator()(const Executor& executor, const ConstTensor& query, const PagedCache& cache, const Tensor& out,
                  const CallOptions& options = {}) const;
  /// As above, with the sequences of block tables, those that options.sequences names or all.
  void operator()(const Executor& executor, const ConstTensor& query, const BlockPool& pool,
                  std::span<const BlockTable> tables, const Tensor& out, const CallOptions& options = {}) const;

  /// Caches that this operator reads. Where its parts place keys differently, they hold them unrotated. Throw what
  /// those of the templates throw.
  KeyValueCache make_cache(StorageTypes types, const CacheShape& shape, Index sequences, CacheCapacity capacity) const;
  PagedCache make_paged_cache(StorageTypes types, const CacheShape& shape, Index blocks, Index block_size) const;
  BlockPool make_pool(StorageTypes types, const CacheShape& shape, Index blocks, Index block_size) const;

  /// Writes an offset [kv_heads, head_dim] for caches of keys like these, as dca::estimate_key_offset does; `offset`
  /// has kv_heads * head_dim numbers. Throws what that throws.
  void estimate_key_offset(const ConstTensor& key, std::span<float> offset, const KeyOffsetOptions& options = {}) const;

  /// Writes query_position - key_position for queries [first_query, first_query + queries) and keys [first_key,
  /// first_key + keys), absolute positions counted from 0, to out[query][key]; `unseen` where the query does not see
  /// the key. Throws std::invalid_argument for negative numbers, or where the number of cells overflows.
  void position_map(Index first_query, Index queries, Index first_key, Index keys, Index * out) const;

 private:
  friend struct Access;
  struct Implementation;
  Implementation* implementation_;
};

/// Attention over some of the keys: see dca::PartialState. One to read, and one to write.
struct ConstPartialState {
  ConstTensor out;
  ConstTensor lse;
};
struct PartialState {
  Tensor out;
  Tensor lse;
};

/// As dca::merge; all tensors, sink_logits [heads] too, have the dtype of result.out, float32 or float64.
[[gnu::visibility("default")]] void merge(const Executor& executor, std::span<const ConstPartialState> states,
                                          const PartialState& result, const ConstTensor& sink_logits = {});

/// Sizes to try when a model is tuned, the likeliest first; see dca::chunk_sizes_to_try and dca::local_windows_to_try.
/// Writes as many as fit and returns how many there are.
[[gnu::visibility("default")]] Index chunk_sizes_to_try(Index trained_window, std::span<ChunkConfig> sizes);
[[gnu::visibility("default")]] Index local_windows_to_try(Index trained_window, Index chunk_size,
                                                          std::span<ChunkConfig> sizes);

/// The kernels that calls use.
struct KernelsInUse {
  const char* instruction_set;
  int float_packet_size;  // in elements
  int double_packet_size;
};
[[gnu::visibility("default")]] KernelsInUse kernels_in_use();

/// Of the library that is linked, such as "0.2.0".
[[gnu::visibility("default")]] const char* version();

}  // namespace dca::compiled
