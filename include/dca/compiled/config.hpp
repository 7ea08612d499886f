// What a compiled operator is made from, and what a call of it may say.
#pragma once

#include <optional>
#include <span>

#include "dca/compiled/tensor.hpp"
#include "dca/positions/chunk_layout.hpp"
#include "dca/positions/part_functions.hpp"

namespace dca::compiled {

class Workspace;
class Choices;

/// Which features turn together: as dca::RopePairing.
enum class RopePairing { half, interleaved };

/// How rotary frequencies are stretched: see dca::plain_frequencies and its neighbours.
enum class RopeScaling { none, linear, ntk, dynamic_ntk, yarn, llama3 };

/// A rotary embedding. Fill with designated initialisers; a scaling reads those numbers alone that it has.
struct RopeConfig {
  Index rotary_dim = 0;  // 0: nothing turns
  double theta = 10000.0;
  RopePairing pairing = RopePairing::half;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1.0;       // of all scalings
  Index trained_window = 0;  // of dynamic_ntk, yarn and llama3
  Index length = 0;          // of dynamic_ntk
  double beta_fast = 32.0;   // of yarn, as the next
  double beta_slow = 1.0;
  double low_freq_factor = 1.0;  // of llama3, as the next
  double high_freq_factor = 4.0;
  std::optional<double> attention_factor{};  // default yarn's, or 1
  std::span<const double> inv_freq{};        // instead of all but pairing and attention_factor; copied
};

/// The parts of the library that make an operator: dca::DualChunkAttention, dca::CausalAttention, and the functors of
/// Dual Chunk Attention, one by one.
enum class Composition { dual_chunk, causal, intra_chunk, successive_chunk, inter_chunk };

/// Parts of one's own: see own_parts.hpp. What they refer to must outlive operators and caches. Layouts are told apart
/// by where they are: a cache is read by operators of the very layout that it was made with.
struct OwnParts {
  std::span<const PartFunctions> parts{};
  const void* layout = nullptr;
  bool share_key_positions = false;  // whether all parts place keys as the first one: caches hold them placed
  Index selectable = -1;             // the part among whose keys a policy may choose, counted from 0; -1: none
};

/// Fixed when an operator is made. Fill with designated initialisers. Logits as at dca::AttentionConfig.
struct AttentionConfig {
  Composition composition = Composition::dual_chunk;
  DType scalar = DType::float32;  // of the arithmetic: float32 or float64
  ChunkConfig chunks{};           // required for all but causal and parts of one's own
  RopeConfig rope{};
  std::optional<double> softmax_scale{};  // default 1 / sqrt(head_dim); finite
  std::optional<double> logit_softcap{};  // default none; positive and finite
  const OwnParts* own_parts = nullptr;    // instead of composition
};

/// Which keys of distant chunks are visited. all: every key, which is exact.
enum class Policy { all, first_and_recent, top_blocks };

/// A policy with its numbers, as dca::FirstAndRecent and dca::TopBlocks.
struct Selection {
  Policy policy = Policy::all;
  Index keys = -1;          // of top_blocks, required
  Index first = 128;        // of first_and_recent
  Index recent = -1;        // of first_and_recent, required
  Index block = 128;        // of both
  Index query_block = 128;  // of top_blocks, as the next
  double trust_in_bound = 1.0;
};

/// Optional arguments of one call, as those of dca::CallOptions. Fill with designated initialisers.
struct CallOptions {
  std::optional<Index> q_offset{};                    // absolute position of query row 0; default kv_len - q_len
  Tensor lse{};                                       // [batch, q_len, heads], of the operator's scalar
  ConstTensor sink_logits{};                          // [heads], contiguous, of the operator's scalar
  std::span<const Index> cu_seqlens{};                // of ragged queries
  std::span<const Index> key_cu_seqlens{};            // of ragged keys and values in tensors
  std::optional<std::span<const Index>> sequences{};  // of a cache; default all, but required of a PagedCache
  Workspace* workspace = nullptr;
  Selection selection{};
  Tensor skipped{};           // as lse: bound of the softmax mass that a policy skips
  Choices* chosen = nullptr;  // where to append what a policy chose
};

}  // namespace dca::compiled
