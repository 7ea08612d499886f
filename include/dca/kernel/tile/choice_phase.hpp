// Runs before the tile loop where a policy chooses keys: summaries, then choices.
#pragma once

#include <iterator>

#include "dca/device/workers.hpp"
#include "dca/kernel/tile/block_chooser.hpp"

namespace dca::detail {

/// What a call does before its tiles where queries choose among the keys of a part. A base class, so that calls without
/// a policy do not compile it.
class ChoicePhase {
 public:
  /// Takes what all threads share from `arena`, and fills the tables; of an arena without memory, only the amount.
  virtual void take_shared(Arena& arena) = 0;
  virtual Index bytes_per_worker() const = 0;
  /// Tasks that could run at once.
  virtual Index most_tasks() const = 0;
  /// Writes no output of the call: a policy may throw.
  virtual void run(const DeviceRef& device, HelperControlOwner& helpers, Index workers, std::byte* own,
                   Index bytes) = 0;
  /// Writes `skipped`, where the call asks for it.
  virtual void bound_skipped(const DeviceRef& device, HelperControlOwner& helpers, Index workers, std::byte* own,
                             Index bytes) const = 0;
  const BlockChoices& choices() const { return choices_; }

  /// Appends the choices, by kv_head. Throws std::bad_alloc with nothing appended.
  virtual void report(std::vector<ChosenBlocks>& to) const = 0;

 protected:
  explicit ChoicePhase(const BlockChoices& choices) : choices_(choices) {}
  ~ChoicePhase() = default;

  BlockChoices choices_;
};

/// Makes all choices of a call, for each kv_head, each independent of the others: the same on any thread
/// and in any batch.
template <class T>
class PolicyPhase final : public ChoicePhase {
 public:
  /// `part` is the one whose keys are chosen from.
  PolicyPhase(const AttentionParams& params, Index part, const SourceRef<T>& source, const AttentionCall<T>& call,
              const SelectionRef<T>& selection)
      : ChoicePhase({part, selection.block_size, selection.queries}),
        params_(params),
        part_(part),
        source_(source),
        call_(call),
        selection_(selection),
        summaries_(source, selection.block_size) {
    choices_.count(params.composition, source.sequences, source.kv_heads, call.heads / source.kv_heads,
                   [this](Index sequence) { return tokens_of(sequence); });
  }

  void take_shared(Arena& arena) override {
    const bool counting = !arena.has_memory();
    choices_.take_tables(arena);
    if (needs_summaries()) {
      summaries_.take_table(arena, [&](Index sequence) {
        const QueryTokens tokens = tokens_of(sequence);
        return tokens.count == 0 ? 0 : params_.composition.keys(part_, tokens.position + tokens.count - 1).last;
      });
    }
    if (!counting) choices_.fill(params_.composition, [this](Index sequence) { return tokens_of(sequence); });
  }

  Index bytes_per_worker() const override {
    Arena summarising, choosing;
    KeySummaries<T>(summaries_).summarise(params_, part_, 0, summarising);
    BlockChooser<T>(params_, part_, summaries_, call_, selection_, choices_, choosing);
    return std::max(summarising.used(), choosing.used());
  }

  Index most_tasks() const override { return std::max(summaries_.tasks(), choices_.choice_count() * source_.kv_heads); }

  void run(const DeviceRef& device, HelperControlOwner& helpers, Index workers, std::byte* own, Index bytes) override {
    run_tasks(device, helpers, std::min(workers, std::max<Index>(summaries_.tasks(), 1)), summaries_.tasks(),
              [&](Index worker, Index task) {
                Arena arena(own + worker * bytes);
                summaries_.summarise(params_, part_, task, arena);
              });
    for_each_choice(device, helpers, workers, own, bytes,
                    [](BlockChooser<T>& chooser, const Choice& choice, const QueryTokens& tokens, Index kv_head) {
                      chooser.choose(choice, tokens, kv_head);
                    });
  }

  void bound_skipped(const DeviceRef& device, HelperControlOwner& helpers, Index workers, std::byte* own,
                     Index bytes) const override {
    if (call_.skipped.data == nullptr) return;
    for_each_choice(device, helpers, workers, own, bytes,
                    [](BlockChooser<T>& chooser, const Choice& choice, const QueryTokens& tokens, Index kv_head) {
                      chooser.bound_skipped(choice, tokens, kv_head);
                    });
  }

  void report(std::vector<ChosenBlocks>& to) const override {
    std::vector<ChosenBlocks> chosen;
    for (Index c = 0; c < choices_.choice_count(); ++c) {
      const Choice& choice = choices_.choice(c);
      for (Index kv_head = 0; kv_head < source_.kv_heads; ++kv_head) {
        chosen.push_back({{choice.sequence, kv_head, choice.queries, choice.keys}, {}});
        const BlockSet set = choices_.set(choice, kv_head);
        for (Index block = set.first_block(); block < set.last_block(); ++block) {
          if (set.contains(block)) chosen.back().blocks.push_back(block);
        }
      }
    }
    to.insert(to.end(), std::make_move_iterator(chosen.begin()), std::make_move_iterator(chosen.end()));
  }

 private:
  /// Calls f(chooser, choice, its sequence's queries, kv_head) for all choices and kv_heads.
  void for_each_choice(const DeviceRef& device, HelperControlOwner& helpers, Index workers, std::byte* own, Index bytes,
                       FunctionRef<void(BlockChooser<T>&, const Choice&, const QueryTokens&, Index)> f) const {
    // Later ones have more to choose from: they come first, so that the threads finish together.
    const Index tasks = choices_.choice_count() * source_.kv_heads;
    run_tasks(device, helpers, std::min(workers, std::max<Index>(tasks, 1)), tasks, [&](Index worker, Index task) {
      Arena arena(own + worker * bytes);
      BlockChooser<T> chooser(params_, part_, summaries_, call_, selection_, choices_, arena);
      const Choice& choice = choices_.choice((tasks - 1 - task) / source_.kv_heads);
      f(chooser, choice, tokens_of(choice.sequence), task % source_.kv_heads);
    });
  }

  bool needs_summaries() const { return selection_.ranks() || call_.skipped.data != nullptr; }
  QueryTokens tokens_of(Index sequence) const { return call_.places.tokens(sequence, source_.length(sequence)); }

  const AttentionParams& params_;
  Index part_;
  const SourceRef<T>& source_;
  const AttentionCall<T>& call_;
  const SelectionRef<T>& selection_;
  KeySummaries<T> summaries_;
};

}  // namespace dca::detail
