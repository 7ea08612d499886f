// Several prompts continued side by side, on one paged cache.
#pragma once

#include <string>

#include "generation.hpp"

namespace dca_lm {

/// A sequence's greedy continuation.
struct Continuation {
  std::vector<Token> tokens;
  std::vector<double> gaps;  // of each token: by how much its logit is above the second
};

struct BatchOptions {
  Index tokens;                  // to generate for each prompt, at most
  Index prefill_chunk;           // prompts are read in pieces of so many tokens
  std::vector<Token> ends = {};  // as in GenerationOptions
  /// What errors call the prompts, one for each; "prompt 1" and so on where there are none.
  std::vector<std::string> names = {};
};

struct BatchRun {
  std::vector<Continuation> continuations;  // by prompt
  Index steps = 0;
  Index mixed_steps = 0;  // that read pieces of prompts and generated tokens in one call
  double seconds = 0;
};

/// Blocks that a prompt needs, of so many tokens each, to be read and continued.
Index blocks_needed(std::size_t prompt_tokens, Index tokens, Index block_size);

/// Continues every prompt greedily in a session of as many sequences, whose cache has `size`. Continuous batching: a
/// prompt enters, in their order, when the blocks that it will need are free; every step is one ragged call with the
/// next piece of each prompt that is not yet read and the newest token of each other sequence; a sequence that ends
/// gives its blocks back. Throws Error for an empty prompt, options out of range, and a prompt that does not fit the
/// cache alone. Progress is counted in pieces and tokens that are read.
BatchRun run_batch(Session& session, const CacheSize& size, std::span<const std::vector<Token>> prompts,
                   const BatchOptions& options, const ProgressCallback& progress);

/// The same prompts, one after the other, each in a session with a cache in one piece; otherwise as `run_batch`.
/// `batched`: the session of a batch to compare with, whose key offsets they take; null: each has its own.
BatchRun run_one_by_one(const LlamaModel& model, const Attention& attention, const dca::Executor& executor,
                        const KvStorage& storage, std::span<const std::vector<Token>> prompts,
                        const BatchOptions& options, const ProgressCallback& progress,
                        const Session* batched = nullptr);

/// Logits that are closer than this may change places by rounding alone.
constexpr double tie_gap = 1e-3;

/// How two continuations of a prompt compare.
struct Comparison {
  Index differs_at = -1;  // the first token that is not the same, or -1
  double gap = 0;         // between the two largest logits there, the smaller of both runs
  bool mismatch = false;  // they differ where they may not
};

/// Compares continuations up to the first difference: after a tie that fell the other way the texts are others.
Comparison compare(const Continuation& batched, const Continuation& alone);

}  // namespace dca_lm
