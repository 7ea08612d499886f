// The keys and values of one layer, with the attention that reads them.
#pragma once

#include <dca/compiled.hpp>
#include <string>
#include <variant>
#include <vector>

namespace dca_lm {

using dca::Index;

/// The type of keys and values in a cache.
using KvType = dca::compiled::DType;

/// Whether keys are kept less an offset, estimated from the first of them, or as they are.
enum class KeyOffset { automatic, off };

/// How a session keeps its keys and values.
struct KvStorage {
  KvType type = KvType::float32;
  KeyOffset key_offset = KeyOffset::automatic;
};

/// The type that the command line calls `name`: float, half, bfloat16, int8 or int4. Throws Error for another name.
KvType kv_type_of(const std::string& name);

/// What the command line calls `name`: auto or off. Throws Error for another name.
KeyOffset key_offset_of(const std::string& name);

/// How much a cache holds: `tokens` tokens of each sequence in one piece of memory, or, where block_size is not 0, of
/// all sequences together, in tokens / block_size blocks that they take as they need them.
struct CacheSize {
  Index sequences = 1;
  Index tokens = 0;
  Index block_size = 0;
};

/// A cache of either kind. Holds sequences 0, 1, ..., each with a length of its own.
///
/// With KeyOffset::automatic and a type narrower than float, the tokens of the first append, at least 16, give a key
/// offset, if any, which stays whatever is truncated. Fewer give none: they say too little of the others.
class LayerCache {
 public:
  /// Of keys and values that `attend`, which must outlive it, reads. `selection`: which keys of distant chunks it
  /// visits. Throws std::invalid_argument where a size does not suit the type, std::bad_alloc.
  LayerCache(const dca::compiled::Attention& attend, const dca::compiled::Selection& selection,
             const KvStorage& storage, dca::CacheShape shape, const CacheSize& size);

  /// Before the first token: takes the key offset of another cache of the same shape, or does without as that does.
  /// Throws what the caches throw.
  void share_key_offset(const LayerCache& other);

  /// Appends key and value [count, kv_heads, head_dim] to a sequence; keys come unrotated. Throws what the caches
  /// throw.
  void append(const dca::Executor& executor, Index sequence, const dca::compiled::ConstTensor& key,
              const dca::compiled::ConstTensor& value);

  /// Forgets the tokens of a sequence from position `length` on. Throws what the caches throw.
  void truncate(Index sequence, Index length);

  /// Attention of the query rows [total, heads, head_dim], the last tokens of options.sequences one after the other, to
  /// all that these hold: out [total, heads, head_dim].
  void attend(const dca::Executor& executor, const dca::compiled::ConstTensor& query, const dca::compiled::Tensor& out,
              dca::compiled::CallOptions options) const;

  /// Bytes held for keys and values.
  Index bytes() const;

 private:
  std::vector<float> estimated_key_offset(dca::compiled::ConstTensor key) const;
  void set_key_offset(const std::vector<float>& offset);

  const dca::compiled::Attention* attend_;
  dca::compiled::Selection selection_;
  Index kv_heads_, head_dim_;
  bool key_offset_is_settled_;
  std::vector<float> key_offset_{};  // [kv_heads, head_dim]; empty: none
  std::variant<dca::compiled::KeyValueCache, dca::compiled::PagedCache> cache_;
};

}  // namespace dca_lm
