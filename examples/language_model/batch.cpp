#include "batch.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

#include "messages.hpp"

namespace dca_lm {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string name_of(std::size_t prompt, const BatchOptions& options) {
  return options.names.empty() ? "prompt " + std::to_string(prompt + 1) : options.names[prompt];
}

void check(std::span<const std::vector<Token>> prompts, const BatchOptions& options) {
  if (prompts.empty()) throw Error("no prompts; there must be at least one");
  if (!options.names.empty() && options.names.size() != prompts.size()) {
    throw Error(std::to_string(options.names.size()) + " names; there are " + std::to_string(prompts.size()) +
                " prompts");
  }
  for (std::size_t k = 0; k < prompts.size(); ++k) {
    if (prompts[k].empty()) throw Error(printable(name_of(k, options)) + " is empty; it needs at least one token");
  }
  if (options.tokens < 1) throw Error("--tokens " + std::to_string(options.tokens) + "; must be at least 1");
  if (options.prefill_chunk < 1) {
    throw Error("--prefill-chunk " + std::to_string(options.prefill_chunk) + "; must be at least 1");
  }
}

/// Pieces of a prompt.
Index pieces_of(std::span<const Token> prompt, const BatchOptions& options) {
  return (static_cast<Index>(prompt.size()) + options.prefill_chunk - 1) / options.prefill_chunk;
}

/// Reads that it takes to continue a prompt to its full length: its pieces, of which the last gives a token, and all
/// tokens but the last.
Index reads_of(std::span<const Token> prompt, const BatchOptions& options) {
  return pieces_of(prompt, options) + options.tokens - 1;
}

Index reads_of_all(std::span<const std::vector<Token>> prompts, const BatchOptions& options) {
  Index reads = 0;
  for (const auto& prompt : prompts) reads += reads_of(prompt, options);
  return reads;
}

/// The sequences of a run: which wait, which are read, what each has generated.
class Schedule {
 public:
  Schedule(std::span<const std::vector<Token>> prompts, const BatchOptions& options, const CacheSize& size)
      : prompts_(prompts),
        options_(options),
        block_size_(size.block_size),
        continuations_(prompts.size()),
        reads_left_(reads_of_all(prompts, options)),
        all_reads_(reads_left_) {
    free_ = size.tokens / size.block_size;
    for (std::size_t k = 0; k < prompts.size(); ++k) {
      if (needs(k) > free_) {
        throw Error(printable(name_of(k, options)) + " needs " + std::to_string(needs(k)) + " blocks of " +
                    std::to_string(block_size_) + " tokens; there are " + std::to_string(free_));
      }
    }
  }

  bool done() const { return waiting_ == prompts_.size() && running_.empty(); }
  double share_done() const { return 1 - static_cast<double>(reads_left_) / static_cast<double>(all_reads_); }

  /// What the next step reads.
  std::vector<Piece> next(const Session& session) {
    while (waiting_ < prompts_.size() && needs(waiting_) <= free_) {
      free_ -= needs(waiting_);
      running_.push_back(waiting_++);
    }
    std::vector<Piece> pieces;
    for (const std::size_t k : running_) {
      const auto read = static_cast<std::size_t>(session.length(static_cast<Index>(k)));
      const std::span<const Token> prompt(prompts_[k]), generated(continuations_[k].tokens);
      const std::size_t most = static_cast<std::size_t>(options_.prefill_chunk);
      const auto tokens =
          read < prompt.size() ? prompt.subspan(read, std::min(most, prompt.size() - read)) : generated.last(1);
      pieces.push_back({static_cast<Index>(k), tokens});
    }
    reads_left_ -= static_cast<Index>(pieces.size());
    return pieces;
  }

  /// Whether a sequence has all of its prompt: then its last state chooses a token.
  bool generates(const Session& session, Index sequence) const {
    return session.length(sequence) >= static_cast<Index>(prompts_[static_cast<std::size_t>(sequence)].size());
  }

  /// Takes what a sequence generates, and ends it where it ends.
  void take(Session& session, Index sequence, const Eigen::Ref<const Eigen::RowVectorXf>& logits) {
    const auto k = static_cast<std::size_t>(sequence);
    Continuation& continuation = continuations_[k];
    const Token token = greedy_token(logits);
    const bool ended = std::find(options_.ends.begin(), options_.ends.end(), token) != options_.ends.end();
    if (!ended) {
      continuation.tokens.push_back(token);
      continuation.gaps.push_back(top_gap(logits));
    }
    const Index left = options_.tokens - static_cast<Index>(continuation.tokens.size());
    if (!ended && left > 0) return;
    if (ended) reads_left_ -= left - 1;  // the end is not read, nor what might have come after it
    session.truncate(0, sequence);
    free_ += needs(k);
    running_.erase(std::find(running_.begin(), running_.end(), k));
  }

  std::vector<Continuation> take_continuations() { return std::move(continuations_); }

 private:
  Index needs(std::size_t k) const { return blocks_needed(prompts_[k].size(), options_.tokens, block_size_); }

  std::span<const std::vector<Token>> prompts_;
  const BatchOptions& options_;
  Index block_size_, free_ = 0;  // blocks that no sequence has been promised
  std::vector<Continuation> continuations_;
  std::vector<std::size_t> running_;
  Index reads_left_, all_reads_;
  std::size_t waiting_ = 0;  // prompts from waiting_ on have not entered
};

}  // namespace

Index blocks_needed(std::size_t prompt_tokens, Index tokens, Index block_size) {
  if (block_size < 1) throw Error("--block-size " + std::to_string(block_size) + "; must be at least 1");
  // The last token that is generated is not read.
  return (static_cast<Index>(prompt_tokens) + tokens - 1 + block_size - 1) / block_size;
}

BatchRun run_batch(Session& session, const CacheSize& size, std::span<const std::vector<Token>> prompts,
                   const BatchOptions& options, const ProgressCallback& progress) {
  check(prompts, options);
  if (size.block_size < 1) throw Error("--block-size " + std::to_string(size.block_size) + "; must be at least 1");
  if (size.sequences < static_cast<Index>(prompts.size())) throw Error("the session has fewer sequences than prompts");
  Schedule schedule(prompts, options, size);
  BatchRun run;
  const auto start = std::chrono::steady_clock::now();
  while (!schedule.done()) {
    const std::vector<Piece> pieces = schedule.next(session);
    const Matrix hidden = session.read(pieces);
    std::vector<Index> rows;  // of pieces whose sequences generate now
    std::size_t newest = 0;   // tokens that were generated in the step before
    for (std::size_t k = 0; k < pieces.size(); ++k) {
      const auto& prompt = prompts[static_cast<std::size_t>(pieces[k].sequence)];
      if (schedule.generates(session, pieces[k].sequence)) rows.push_back(static_cast<Index>(k));
      if (session.length(pieces[k].sequence) > static_cast<Index>(prompt.size())) ++newest;
    }
    ++run.steps;
    if (newest > 0 && newest < pieces.size()) ++run.mixed_steps;
    if (!rows.empty()) {
      Matrix chosen(static_cast<Index>(rows.size()), hidden.cols());
      for (std::size_t r = 0; r < rows.size(); ++r) chosen.row(static_cast<Index>(r)) = hidden.row(rows[r]);
      const auto name = [&](Index row) {
        const Index sequence = pieces[static_cast<std::size_t>(rows[static_cast<std::size_t>(row)])].sequence;
        return "position " + std::to_string(session.length(sequence) - 1) + " of " +
               printable(name_of(static_cast<std::size_t>(sequence), options));
      };
      const Matrix logits = session.model().logits(session.executor(), chosen, name);
      for (std::size_t r = 0; r < rows.size(); ++r) {
        schedule.take(session, pieces[static_cast<std::size_t>(rows[r])].sequence, logits.row(static_cast<Index>(r)));
      }
    }
    if (progress) progress(schedule.share_done());
  }
  run.seconds = seconds_since(start);
  run.continuations = schedule.take_continuations();
  return run;
}

BatchRun run_one_by_one(const LlamaModel& model, const Attention& attention, const dca::Executor& executor,
                        const KvStorage& storage, std::span<const std::vector<Token>> prompts,
                        const BatchOptions& options, const ProgressCallback& progress, const Session* batched) {
  check(prompts, options);
  BatchRun run;
  const auto all_reads = static_cast<double>(reads_of_all(prompts, options));
  Index before = 0;  // reads of the prompts before
  for (std::size_t k = 0; k < prompts.size(); ++k) {
    const std::vector<Token>& prompt = prompts[k];
    Session session(model, attention, executor, {.tokens = static_cast<Index>(prompt.size()) + options.tokens},
                    storage);
    if (batched != nullptr) session.share_key_offsets(*batched);
    Continuation& continuation = run.continuations.emplace_back();
    const Index pieces = pieces_of(prompt, options);
    const auto show = [&](double reads) {
      if (progress) progress((static_cast<double>(before) + reads) / all_reads);
    };
    const auto start = std::chrono::steady_clock::now();
    const Generation generation = naming(name_of(k, options), [&] {
      return generate(
          session, prompt, {.tokens = options.tokens, .prefill_chunk = options.prefill_chunk, .ends = options.ends},
          [&](Token, const Eigen::Ref<const Eigen::RowVectorXf>& logits) {
            continuation.gaps.push_back(top_gap(logits));
            show(static_cast<double>(pieces) + static_cast<double>(continuation.gaps.size()) - 1);
          },
          [&](double share) { show(share * static_cast<double>(pieces)); });
    });
    run.seconds += seconds_since(start);
    run.steps += generation.decoded + pieces;
    continuation.tokens = generation.tokens;
    before += reads_of(prompt, options);
  }
  return run;
}

Comparison compare(const Continuation& batched, const Continuation& alone) {
  Comparison result;
  const std::size_t shorter = std::min(batched.tokens.size(), alone.tokens.size());
  std::size_t at = 0;
  while (at < shorter && batched.tokens[at] == alone.tokens[at]) ++at;
  if (at == batched.tokens.size() && at == alone.tokens.size()) return result;
  // Where one has ended, the other's gap alone is known.
  const double unknown = std::numeric_limits<double>::infinity();
  const auto gap = [&](const Continuation& one) { return at < one.gaps.size() ? one.gaps[at] : unknown; };
  result.differs_at = static_cast<Index>(at);
  result.gap = std::min(gap(batched), gap(alone));
  result.mismatch = !(result.gap <= tie_gap);
  return result;
}

}  // namespace dca_lm
