// Caches of the compiled operator. Made by an Attention, which they may outlive.
#pragma once

#include <optional>
#include <span>

#include "dca/compiled/tensor.hpp"
#include "dca/device/executor.hpp"
#include "dca/kv/cache_shape.hpp"

namespace dca::compiled {

class Attention;

/// How a cache stores keys and values.
struct StorageTypes {
  DType key = DType::float32;
  std::optional<DType> value{};  // default as key
};

/// As dca::BlockPool: a fixed number of blocks of tokens, reference-counted; tables belong to the caller. Functions
/// throw what those of dca::BlockPool throw.
class [[gnu::visibility("default")]] BlockPool {
 public:
  ~BlockPool();
  BlockPool(BlockPool &&) noexcept;
  BlockPool& operator=(BlockPool&&) noexcept;

  Index take();
  void share(Index block);
  void give_back(Index block);
  Index users(Index block) const;
  /// From now on keys are stored less `offset` [kv_heads, head_dim].
  void set_key_offset(const ConstTensor& offset);
  /// Writes batch b of key [batch, m, kv_heads, head_dim] (unrotated) and value likewise after the tokens of tables[b].
  void append(const Executor& executor, std::span<const BlockTable> tables, const ConstTensor& key,
              const ConstTensor& value);
  void copy_tokens(Index from, Index to, Index tokens);
  void copy_tokens_from(const BlockPool& other, Index from, Index to, Index tokens);

  Index blocks() const;
  Index free_blocks() const;
  Index block_size() const;
  Index bytes() const;

 private:
  friend struct Access;
  struct Implementation;
  [[gnu::visibility("hidden")]] explicit BlockPool(Implementation * implementation);
  Implementation* implementation_;
};

/// As dca::KeyValueCache: sequences that share sizes and capacity, each in one piece of memory. Functions throw what
/// those of dca::KeyValueCache throw.
class [[gnu::visibility("default")]] KeyValueCache {
 public:
  ~KeyValueCache();
  KeyValueCache(KeyValueCache &&) noexcept;
  KeyValueCache& operator=(KeyValueCache&&) noexcept;

  /// From now on keys are stored less `offset` [kv_heads, head_dim].
  void set_key_offset(const ConstTensor& offset);
  /// Appends key [m, kv_heads, head_dim] (unrotated) and value likewise to a sequence.
  void append(const Executor& executor, Index sequence, const ConstTensor& key, const ConstTensor& value);
  /// Appends key [sequences, m, kv_heads, head_dim] and value likewise, m tokens to each sequence.
  void append(const Executor& executor, const ConstTensor& key, const ConstTensor& value);
  void truncate(Index sequence, Index length);
  void copy_prefix(Index from, Index to, Index length);

  Index sequences() const;
  Index length(Index sequence) const;
  Index capacity() const;
  Index bytes() const;

 private:
  friend struct Access;
  struct Implementation;
  [[gnu::visibility("hidden")]] explicit KeyValueCache(Implementation * implementation);
  Implementation* implementation_;
};

/// As dca::PagedCache: sequences on the blocks of one pool that share common prefixes. Functions throw what those of
/// dca::PagedCache throw.
class [[gnu::visibility("default")]] PagedCache {
 public:
  ~PagedCache();
  PagedCache(PagedCache &&) noexcept;
  PagedCache& operator=(PagedCache&&) noexcept;

  /// From now on keys are stored less `offset` [kv_heads, head_dim].
  void set_key_offset(const ConstTensor& offset);
  Index add();
  Index fork(Index sequence);
  void truncate(Index sequence, Index length);
  void remove(Index sequence);
  /// Appends key [m, kv_heads, head_dim] (unrotated) and value likewise to a sequence.
  void append(const Executor& executor, Index sequence, const ConstTensor& key, const ConstTensor& value);

  Index length(Index sequence) const;
  Index blocks() const;
  Index free_blocks() const;
  Index block_size() const;
  Index bytes() const;

 private:
  friend struct Access;
  struct Implementation;
  [[gnu::visibility("hidden")]] explicit PagedCache(Implementation * implementation);
  Implementation* implementation_;
};

}  // namespace dca::compiled
