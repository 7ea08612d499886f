// The keys and values of one layer, whatever they are stored as.
#pragma once

#include <dca/dca.hpp>
#include <memory>
#include <span>
#include <variant>

#include "kv_type.hpp"
#include "parts.hpp"

namespace dca_lm {

using dca::Index;

/// Queries of several sequences, one after the other: those of sequences[k] are the rows [cu_seqlens[k],
/// cu_seqlens[k + 1]) of rows [total, heads, head_dim]. They are the last tokens of their sequence.
struct RaggedQueries {
  dca::TensorView<const float> rows;
  std::span<const Index> sequences;
  std::span<const Index> cu_seqlens;
  std::vector<dca::ChosenBlocks>* chosen = nullptr;  // where to append what a policy chose
};

/// A cache of the library behind one interface for all types of storage, with the operator that reads it: which of them
/// it is, is decided when the program runs. Holds sequences 0, 1, ..., each with a length of its own.
class LayerCache {
 public:
  virtual ~LayerCache() = default;

  /// Appends key and value [count, kv_heads, head_dim] to a sequence; keys come unrotated. Throws what the caches
  /// throw.
  virtual void append(const Eigen::ThreadPoolDevice& device, Index sequence, dca::TensorView<const float> key,
                      dca::TensorView<const float> value) = 0;

  /// Forgets the tokens of a sequence from position `length` on. Throws what the caches throw.
  virtual void truncate(Index sequence, Index length) = 0;

  /// Attention of the queries to all that their sequences hold: out [total, heads, head_dim].
  virtual void attend(const Eigen::ThreadPoolDevice& device, const RaggedQueries& queries, dca::TensorView<float> out,
                      dca::Workspace& workspace) const = 0;

  /// Bytes held for keys and values.
  virtual Index bytes() const = 0;
};

/// How much a cache holds: `tokens` tokens of each sequence in one piece of memory, or, where block_size is not 0, of
/// all sequences together, in tokens / block_size blocks that they take as they need them.
struct CacheSize {
  Index sequences = 1;
  Index tokens = 0;
  Index block_size = 0;
};

/// The operators of the program.
using Operator =
    std::variant<dca::DualChunkAttention<float>, dca::CausalAttention<float>, dca::IntraChunkAttention<float>,
                 IntraAndInterAttention, StreamingAttention, SelfExtendAttention>;

/// Which keys of distant chunks Dual Chunk Attention visits.
using InterSelection = std::variant<dca::AllChunks, dca::FirstAndRecent, dca::TopBlocks>;

/// A cache of keys and values stored as K that `attend`, which must outlive it, reads. Each K is compiled in a file of
/// its own, layer_cache_*.cpp. Throws std::invalid_argument where a size does
/// not suit the storage, Error where the operator has no distant chunks to choose from,
/// std::bad_alloc.
template <class K>
std::unique_ptr<LayerCache> make_layer_cache(const Operator& attend, const InterSelection& inter, dca::CacheShape shape,
                                             const CacheSize& size);

}  // namespace dca_lm
