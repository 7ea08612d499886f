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

  /// Appends the choices by group and kv_head. Throws std::bad_alloc with nothing appended.
  void report(Index kv_heads, std::vector<ChosenBlocks>& to) const {
    std::vector<ChosenBlocks> chosen;
    for (Index g = 0; g < choices_.group_count(); ++g) {
      const QueryGroup& group = choices_.group(g);
      for (Index kv_head = 0; kv_head < kv_heads; ++kv_head) {
        chosen.push_back({{group.sequence, kv_head, group.queries, group.keys}, {}});
        const BlockSet set = choices_.set(group, kv_head);
        for (Index block = set.first_block(); block < set.last_block(); ++block) {
          if (set.contains(block)) chosen.back().blocks.push_back(block);
        }
      }
    }
    to.insert(to.end(), std::make_move_iterator(chosen.begin()), std::make_move_iterator(chosen.end()));
  }

 protected:
  explicit ChoicePhase(const BlockChoices& choices) : choices_(choices) {}
  ~ChoicePhase() = default;

  BlockChoices choices_;
};

/// Makes the choices of all query groups and kv_heads of a call, each independent of the others: the same on any thread
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
                   [this](Index sequence) { return run_of(sequence); });
  }

  void take_shared(Arena& arena) override {
    const bool counting = !arena.has_memory();
    choices_.take_tables(arena);
    if (needs_summaries()) {
      summaries_.take_table(arena, [&](Index sequence) {
        const QueryRun run = run_of(sequence);
        return run.count == 0 ? 0 : params_.composition.keys(part_, run.position + run.count - 1).last;
      });
    }
    if (!counting) choices_.fill(params_.composition, [this](Index sequence) { return run_of(sequence); });
  }

  Index bytes_per_worker() const override {
    Arena summarising, choosing;
    KeySummaries<T>(summaries_).summarise(params_, part_, 0, summarising);
    BlockChooser<T>(params_, part_, summaries_, call_, selection_, choices_, choosing);
    return std::max(summarising.used(), choosing.used());
  }

  Index most_tasks() const override { return std::max(summaries_.tasks(), choices_.group_count() * source_.kv_heads); }

  void run(const DeviceRef& device, HelperControlOwner& helpers, Index workers, std::byte* own, Index bytes) override {
    run_tasks(device, helpers, std::min(workers, std::max<Index>(summaries_.tasks(), 1)), summaries_.tasks(),
              [&](Index worker, Index task) {
                Arena arena(own + worker * bytes);
                summaries_.summarise(params_, part_, task, arena);
              });
    for_each_group(device, helpers, workers, own, bytes,
                   [](BlockChooser<T>& chooser, const QueryGroup& group, const QueryRun& run, Index kv_head) {
                     chooser.choose(group, run, kv_head);
                   });
  }

  void bound_skipped(const DeviceRef& device, HelperControlOwner& helpers, Index workers, std::byte* own,
                     Index bytes) const override {
    if (call_.skipped.data == nullptr) return;
    for_each_group(device, helpers, workers, own, bytes,
                   [](BlockChooser<T>& chooser, const QueryGroup& group, const QueryRun& run, Index kv_head) {
                     chooser.bound_skipped(group, run, kv_head);
                   });
  }

 private:
  /// Calls f(chooser, group, its queries, kv_head) for all groups and kv_heads.
  void for_each_group(const DeviceRef& device, HelperControlOwner& helpers, Index workers, std::byte* own, Index bytes,
                      FunctionRef<void(BlockChooser<T>&, const QueryGroup&, const QueryRun&, Index)> f) const {
    // Later groups have more to choose from: they come first, so that the threads finish together.
    const Index tasks = choices_.group_count() * source_.kv_heads;
    run_tasks(device, helpers, std::min(workers, std::max<Index>(tasks, 1)), tasks, [&](Index worker, Index task) {
      Arena arena(own + worker * bytes);
      BlockChooser<T> chooser(params_, part_, summaries_, call_, selection_, choices_, arena);
      const QueryGroup& group = choices_.group((tasks - 1 - task) / source_.kv_heads);
      f(chooser, group, run_of(group.sequence), task % source_.kv_heads);
    });
  }

  bool needs_summaries() const { return selection_.ranks() || call_.skipped.data != nullptr; }
  QueryRun run_of(Index sequence) const { return call_.places.run(sequence, source_.length(sequence)); }

  const AttentionParams& params_;
  Index part_;
  const SourceRef<T>& source_;
  const AttentionCall<T>& call_;
  const SelectionRef<T>& selection_;
  KeySummaries<T> summaries_;
};

}  // namespace dca::detail
