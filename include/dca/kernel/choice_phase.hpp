// Runs before the tile loop where a policy chooses keys: summaries, then choices.
#pragma once

#include <iterator>

#include "dca/device/workers.hpp"
#include "dca/kernel/block_chooser.hpp"

namespace dca::detail {

/// Without a policy: does nothing.
struct NoChoicePhase {
  using Choices = EveryKey;

  template <class... Arguments>
  explicit NoChoicePhase(const Arguments&...) {}
  void take_shared(Arena&) {}
  Index bytes_per_worker() const { return 0; }
  Index most_tasks() const { return 0; }
  template <class Device>
  void run(const Device&, HelperControlOwner&, Index, std::byte*, Index) {}
  template <class Device>
  void bound_skipped(const Device&, HelperControlOwner&, Index, std::byte*, Index) const {}
  void report(std::vector<ChosenBlocks>&) const {}
  const Choices& choices() const { return choices_; }

 private:
  Choices choices_;
};

/// Makes the choices of all query groups and kv_heads of a call, each independent of the others: the same on any thread
/// and in any batch.
template <class T, class Layout, class Source, class Q, class O, class Part, class Selection>
class ChoicePhase {
 public:
  using Choices = BlockChoices;

  ChoicePhase(const AttentionParams<Layout>& params, const Source& source, const AttentionCall<T, Q, O>& call,
              const Selection& selection, Index streamed_rows_limit)
      : params_(params),
        source_(source),
        call_(call),
        selection_(selection),
        streamed_rows_limit_(streamed_rows_limit),
        choices_(selection.block_size(), selection.queries()),
        summaries_(source, selection.block_size()) {
    choices_.template count<Part>(params.chunks, source.sequences(), source.kv_heads(), runs(), streamed());
  }

  /// Takes what all threads share from `arena`, and fills the tables; of an arena without memory, only the amount.
  void take_shared(Arena& arena) {
    const bool counting = !arena.has_memory();
    choices_.take_tables(arena);
    if (needs_summaries()) {
      summaries_.take_table(arena, [&](Index sequence) {
        const QueryRun run = runs()(sequence);
        return run.count == 0 ? 0 : Part::keys(params_.chunks, run.position + run.count - 1).last;
      });
    }
    if (!counting) choices_.template fill<Part>(params_.chunks, runs(), streamed());
  }

  Index bytes_per_worker() const {
    Arena summarising, choosing;
    Summaries(summaries_).template summarise<Part>(params_, 0, summarising);
    Chooser(params_, summaries_, call_, selection_, choices_, choosing);
    return std::max(summarising.used(), choosing.used());
  }

  /// Tasks that could run at once.
  Index most_tasks() const { return std::max(summaries_.tasks(), choices_.group_count() * source_.kv_heads()); }

  /// Writes no output of the call: a policy may throw.
  template <class Device>
  void run(const Device& device, HelperControlOwner& helpers, Index workers, std::byte* own, Index bytes) {
    run_tasks(device, helpers, std::min(workers, std::max<Index>(summaries_.tasks(), 1)), summaries_.tasks(),
              [&](Index worker, Index task) {
                Arena arena(own + worker * bytes);
                summaries_.template summarise<Part>(params_, task, arena);
              });
    for_each_group(device, helpers, workers, own, bytes,
                   [](Chooser& chooser, const auto&... group) { chooser.choose(group...); });
  }

  /// Writes `skipped`, where the call asks for it.
  template <class Device>
  void bound_skipped(const Device& device, HelperControlOwner& helpers, Index workers, std::byte* own,
                     Index bytes) const {
    if (call_.skipped.data == nullptr) return;
    for_each_group(device, helpers, workers, own, bytes,
                   [](Chooser& chooser, const auto&... group) { chooser.bound_skipped(group...); });
  }

  /// Appends the choices by group and kv_head. Throws std::bad_alloc with nothing appended.
  void report(std::vector<ChosenBlocks>& to) const {
    std::vector<ChosenBlocks> chosen;
    for (Index g = 0; g < choices_.group_count(); ++g) {
      const QueryGroup& group = choices_.group(g);
      for (Index kv_head = 0; kv_head < source_.kv_heads(); ++kv_head) {
        chosen.push_back({{group.sequence, kv_head, group.queries, group.keys}, {}});
        const BlockSet set = choices_.set(group, kv_head);
        for (Index block = set.first_block(); block < set.last_block(); ++block) {
          if (set.contains(block)) chosen.back().blocks.push_back(block);
        }
      }
    }
    to.insert(to.end(), std::make_move_iterator(chosen.begin()), std::make_move_iterator(chosen.end()));
  }

  const Choices& choices() const { return choices_; }

 private:
  using Chooser = BlockChooser<T, Layout, Source, Q, O, Part, Selection>;
  using Summaries = KeySummaries<T, Source>;

  /// Calls f(chooser, group, its queries, kv_head) for all groups and kv_heads.
  template <class Device, class F>
  void for_each_group(const Device& device, HelperControlOwner& helpers, Index workers, std::byte* own, Index bytes,
                      const F& f) const {
    // Later groups have more to choose from: they come first, so that the threads finish together.
    const Index tasks = choices_.group_count() * source_.kv_heads();
    run_tasks(device, helpers, std::min(workers, std::max<Index>(tasks, 1)), tasks, [&](Index worker, Index task) {
      Arena arena(own + worker * bytes);
      Chooser chooser(params_, summaries_, call_, selection_, choices_, arena);
      const QueryGroup& group = choices_.group((tasks - 1 - task) / source_.kv_heads());
      f(chooser, group, runs()(group.sequence), task % source_.kv_heads());
    });
  }

  bool needs_summaries() const { return Chooser::ranks || call_.skipped.data != nullptr; }
  auto runs() const {
    return [this](Index sequence) { return call_.queries(sequence, source_.length(sequence)); };
  }
  auto streamed() const {
    return [this](const QueryRun& run) {
      return run.count * (call_.query.shape[2] / source_.kv_heads()) <= streamed_rows_limit_;
    };
  }

  const AttentionParams<Layout>& params_;
  const Source& source_;
  const AttentionCall<T, Q, O>& call_;
  const Selection& selection_;
  Index streamed_rows_limit_;
  BlockChoices choices_;
  Summaries summaries_;
};

/// The part that a composition's queries may choose keys of: the first that is selectable; void where none is.
template <class... Parts>
struct SelectablePartOf {
  using type = void;
};
template <class First, class... Rest>
struct SelectablePartOf<First, Rest...> {
  using type = std::conditional_t<SelectablePart<First>, First, typename SelectablePartOf<Rest...>::type>;
};

template <class T, class Layout, class Source, class Q, class O, class Selection, class... Parts>
struct ChoicePhaseFor {
  static_assert((0 + ... + SelectablePart<Parts>) == 1, "a policy needs a composition with one selectable part");
  using type = ChoicePhase<T, Layout, Source, Q, O, typename SelectablePartOf<Parts...>::type, Selection>;
};
template <class T, class Layout, class Source, class Q, class O, class... Parts>
struct ChoicePhaseFor<T, Layout, Source, Q, O, AllChunks, Parts...> {
  using type = NoChoicePhase;
};
template <class T, class Layout, class Source, class Q, class O, class Selection, class... Parts>
using ChoicePhaseOf = typename ChoicePhaseFor<T, Layout, Source, Q, O, Selection, Parts...>::type;

}  // namespace dca::detail
