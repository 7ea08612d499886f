// A call from its arguments to its results: tasks that the device's threads share.
#pragma once

#include "dca/device/workers.hpp"
#include "dca/kernel/plan/call_plan.hpp"
#include "dca/kernel/tile/choice_phase.hpp"
#include "dca/kernel/tile/packed_attention.hpp"
#include "dca/kernel/tile/streamed_attention.hpp"

namespace dca::detail {

/// Attention of all rows of a call on the threads of a device. Sequences with many query rows are cut into runs of
/// rows, those with few into pieces of keys, whose partial states are merged in a second step. Where a policy lets
/// queries choose their keys, they do so before.
///
/// Cost: 2 * (head_dim + v_head_dim) FLOPs per visible (query, key). Scratch per worker is constant in the lengths;
/// partial states are at most 64 per row, of up to 64 rows per sequence and kv_head.
template <class T>
class CallRunner {
 public:
  /// `choice` is null where every query visits all keys that it sees.
  CallRunner(const DeviceRef& device, const AttentionParams& params, const SourceRef<T>& source,
             const AttentionCall<T>& call, ChoicePhase* choice)
      : device_(device),
        params_(params),
        source_(source),
        call_(call),
        choice_(choice),
        choices_(choice != nullptr ? choice->choices() : every_key_),
        kv_heads_(source.kv_heads),
        group_(call.heads / kv_heads_),
        plan_(CallPlan::count({source.sequences, kv_heads_, group_,
                               (source.head_dim + source.v_head_dim) * static_cast<Index>(sizeof(T)), device.threads()},
                              lane_shape<T>, tokens_of(), params.composition, choices_)),
        width_(whole_packets<T>(source.v_head_dim)),
        state_size_(round_up(RowStates<T>::size(plan_.largest_piece(), width_), packet_size<T>)) {}

  /// Throws std::bad_alloc without memory for scratch or `chosen`, and what a policy throws; nothing is written then.
  void run(Workspace* workspace, std::vector<ChosenBlocks>* chosen) {
    Arena counter;
    plan_.take_tables(counter);
    if (choice_ != nullptr) choice_->take_shared(counter);
    const Index states = checked_product("query", plan_.piece_count(), kv_heads_);
    counter.take<T>(checked_product("query", states, state_size_));
    const Index shared_bytes = counter.used();
    const Index tasks = checked_product("query", plan_.packed_count() + plan_.piece_count(), kv_heads_);
    const Index most_tasks = std::max(tasks, choice_ != nullptr ? choice_->most_tasks() : 0);
    const Index workers = worker_count(device_, most_tasks), bytes = bytes_per_worker();
    Scratch scratch(device_, workspace, shared_bytes + workers * bytes);
    Arena shared(scratch.data());
    plan_.take_tables(shared);
    if (choice_ != nullptr) choice_->take_shared(shared);
    states_ = shared.take<T>(states * state_size_);
    plan_.fill(tokens_of(), params_.composition);
    std::byte* const own = scratch.data() + shared_bytes;
    if (choice_ != nullptr) {
      choice_->run(device_, scratch.helpers(), workers, own, bytes);
      if (chosen != nullptr) choice_->report(*chosen);
    }
    fill_skipped();
    if (choice_ != nullptr) choice_->bound_skipped(device_, scratch.helpers(), workers, own, bytes);
    const Index packed_tasks = plan_.packed_count() * kv_heads_;
    run_tasks(device_, scratch.helpers(), std::min(workers, tasks), tasks, [&](Index worker, Index task) {
      Arena arena(own + worker * bytes);
      if (task < packed_tasks) {
        run_packed(task, arena);
      } else {
        run_piece(task - packed_tasks, arena);
      }
    });
    if (states > 0) merge_pieces(scratch.helpers(), workers, own, bytes);
  }

 private:
  /// -inf: no key is skipped, until bound_skipped writes otherwise.
  void fill_skipped() const {
    const TensorView<T>& skipped = call_.skipped;
    if (skipped.data == nullptr) return;
    for (Index batch = 0; batch < skipped.shape[0]; ++batch) {
      for (Index token = 0; token < skipped.shape[1]; ++token) {
        for (Index head = 0; head < skipped.shape[2]; ++head) {
          *call_.row_of(skipped, {batch, 0, 0, 0}, token, head) = -std::numeric_limits<T>::infinity();
        }
      }
    }
  }

  auto tokens_of() const {
    return [this](Index sequence) { return call_.places.tokens(sequence, source_.length(sequence)); };
  }

  /// The largest need of a task.
  Index bytes_per_worker() const {
    Arena packed, streamed, merging;
    if (plan_.largest_packed() > 0)
      PackedAttention<T>(params_, source_, call_, choices_, plan_.largest_packed(), packed);
    if (plan_.largest_streamed() > 0) {
      StreamedAttention<T>(params_, source_, call_, choices_, plan_.largest_streamed(), streamed);
    }
    merging.take<T>(width_);
    const Index choosing = choice_ != nullptr ? choice_->bytes_per_worker() : 0;
    return std::max({packed.used(), streamed.used(), merging.used(), choosing});
  }

  void run_packed(Index task, Arena& arena) const {
    const PackedTask& rows = plan_.packed(task / kv_heads_);
    PackedAttention<T> attention(params_, source_, call_, choices_, plan_.largest_packed(), arena);
    attention.attend(rows.sequence, tokens_of()(rows.sequence), task % kv_heads_, rows.first_row, rows.last_row);
  }

  void run_piece(Index task, Arena& arena) const {
    const Index piece = task / kv_heads_, kv_head = task % kv_heads_, sequence = plan_.sequence_of(piece);
    const QueryTokens tokens = tokens_of()(sequence);
    const KeyRange keys = CallPlan::keys_of(tokens, piece - plan_.first_piece(sequence));
    const Index rows = tokens.count * group_, packed = rows - plan_.streamed_of(rows);
    const RowStates<T> states = state(piece, kv_head, rows);
    if (packed > 0) {
      Arena own = arena;
      PackedAttention<T> attention(params_, source_, call_, choices_, plan_.largest_packed(), own);
      attention.attend(sequence, tokens, kv_head, 0, packed, keys, states);
    }
    if (packed < rows) {
      StreamedAttention<T> attention(params_, source_, call_, choices_, plan_.largest_streamed(), arena);
      attention.attend(sequence, tokens, kv_head, packed, rows, keys, states);
    }
  }

  RowStates<T> state(Index piece, Index kv_head, Index rows) const {
    return {states_ + (piece * kv_heads_ + kv_head) * state_size_, rows, width_};
  }

  /// The rows of all sequences whose keys were cut into pieces: a task is one sequence and kv_head.
  void merge_pieces(HelperControlOwner& helpers, Index workers, std::byte* own, Index bytes) const {
    constexpr Index worthwhile_elements = Index{1} << 16;
    const Index tasks = source_.sequences * kv_heads_;
    const bool alone = plan_.piece_count() * kv_heads_ * state_size_ < worthwhile_elements;
    run_tasks(device_, helpers, alone ? 1 : std::min(workers, tasks), tasks, [&](Index worker, Index task) {
      const Index sequence = task / kv_heads_, kv_head = task % kv_heads_;
      const Index first = plan_.first_piece(sequence), pieces = plan_.first_piece(sequence + 1) - first;
      if (pieces == 0) return;
      T* const sums = Arena(own + worker * bytes).template take<T>(width_);
      const QueryTokens tokens = tokens_of()(sequence);
      const Index rows = tokens.count * group_;
      for (Index row = 0; row < rows; ++row) {
        const auto piece = [&](Index k) { return state(first + k, kv_head, rows); };
        const RowSoftmax<T> softmax = merge_states<T>(pieces, row, piece, sums);
        const bool visits = softmax.total == T{0} && visits_keys(params_.composition, choices_, sequence, kv_head,
                                                                 tokens.position + row / group_);
        write_row(call_, tokens, row / group_, kv_head * group_ + row % group_, sums, softmax, visits);
      }
    });
  }

  const DeviceRef& device_;
  const AttentionParams& params_;
  const SourceRef<T>& source_;
  const AttentionCall<T>& call_;
  ChoicePhase* choice_;
  BlockChoices every_key_{};
  const BlockChoices& choices_;
  Index kv_heads_, group_;
  CallPlan plan_;
  Index width_;       // v_head_dim in whole packets
  Index state_size_;  // elements of the largest partial state
  T* states_ = nullptr;
};

/// Attention of a call whose arguments are checked.
template <class T>
void attend(const DeviceRef& device, const AttentionParams& params, const SourceRef<T>& source,
            const AttentionCall<T>& call, Workspace* workspace) {
  CallRunner<T>(device, params, source, call, nullptr).run(workspace, nullptr);
}

/// Likewise, where queries choose among the keys of a part.
template <class T>
void attend_selected(const DeviceRef& device, const AttentionParams& params, const SourceRef<T>& source,
                     const AttentionCall<T>& call, Workspace* workspace, const SelectionRef<T>& selection, Index part,
                     std::vector<ChosenBlocks>* chosen) {
  PolicyPhase<T> choice(params, part, source, call, selection);
  CallRunner<T>(device, params, source, call, &choice).run(workspace, chosen);
}

}  // namespace dca::detail
