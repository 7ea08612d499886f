// Texts being read: the forward pass over what a cache holds and what comes next.
#pragma once

#include "model.hpp"

namespace dca_lm {

/// Tokens that a sequence of a session reads next.
struct Piece {
  Index sequence;
  std::span<const Token> tokens;
};

/// One text or several, read side by side, with a cache of keys and values per layer. Keys are rotated once, when they
/// enter it.
///
/// What comes out for a piece has the same bits whichever other pieces are read in the same call (in models whose sizes
/// are multiples of 16, as those with quantised weights are), and for any number of threads. Cut into other pieces, a
/// text gives the same up to rounding. A piece of the first step gives the key offset of every layer, if any: see
/// LayerCache. Where that differs, so does what narrow types round.
class Session {
 public:
  /// `size` says how many sequences there are and how much room. Throws Error where the model's head_dim does not suit
  /// the type, std::bad_alloc.
  Session(const LlamaModel& model, const Attention& attention, const dca::Executor& executor, const CacheSize& size,
          const KvStorage& storage = {});

  /// Before the first token: takes the key offsets of another session of the same model, so that both round the same.
  void share_key_offsets(const Session& other);

  /// Tokens that a sequence holds.
  Index length(Index sequence = 0) const { return lengths_[static_cast<std::size_t>(sequence)]; }

  /// Forgets all tokens of a sequence from position `length` on.
  void truncate(Index length, Index sequence = 0);

  /// Reads tokens of sequence 0 at positions length(), length() + 1, ... and returns the last `wanted` hidden states,
  /// normalised for the output: [wanted, width], at most one per token. Throws Error where there are none, they do not
  /// fit the room or one is not in the vocabulary; nothing is read then.
  Matrix read(std::span<const Token> tokens, Index wanted, const ProgressCallback& progress = nullptr);

  /// Reads a piece of each of some sequences, in one step, and returns the last state of every piece: [pieces, width].
  /// Throws as the above, and where a sequence is not there or comes twice.
  Matrix read(std::span<const Piece> pieces, const ProgressCallback& progress = nullptr);

  /// From now on, what queries choose among distant keys is appended to `chosen`, one per layer; null: no more.
  void record(std::vector<dca::compiled::Choices>* chosen) { chosen_ = chosen; }

  /// Bytes that the caches of all layers hold.
  Index cache_bytes() const;

  const LlamaModel& model() const { return model_; }
  const dca::Executor& executor() const { return executor_; }

 private:
  struct Rows;

  void check(std::span<const Piece> pieces) const;
  Matrix run(const Rows& rows, const ProgressCallback& progress);
  void attend(std::size_t layer, const Rows& rows);
  void run_layer(std::size_t layer, const Rows& rows, Matrix& states);

  const LlamaModel& model_;
  dca::Executor executor_;
  CacheSize size_;
  std::vector<LayerCache> caches_;             // per layer
  std::vector<Index> lengths_;                 // per sequence
  Matrix queries_, keys_, values_, attended_;  // of the rows that are read
  dca::compiled::Workspace workspace_;
  std::vector<dca::compiled::Choices>* chosen_ = nullptr;
};

}  // namespace dca_lm
