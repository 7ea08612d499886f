// A call whose types are erased, but for the scalar of its arithmetic: checked, then handed to the kernels.
#pragma once

#include "dca/attention/call_checks.hpp"
#include "dca/attention/options.hpp"
#include "dca/kernel/kernels.hpp"

namespace dca::detail {

/// An operator whose parts are erased; what it refers to must outlive it.
struct OperatorRef {
  Composition composition;
  const RotaryEmbedding& rope;
  std::optional<double> softmax_scale;
  double logit_softcap;   // 0: none
  Index selectable_part;  // counted from 0

  double scale(Index head_dim) const { return softmax_scale.value_or(1.0 / std::sqrt(static_cast<double>(head_dim))); }
};

template <class T>
void check_scales(double softmax_scale, const RotaryEmbedding& rope, Index head_dim) {
  check_logit_scales<T>(softmax_scale, rope.attention_factor(), rope.rotary_dim() > 0, head_dim > rope.rotary_dim());
}

/// The cap of an operator, 0 for none. Throws std::invalid_argument where it or the scale is out of range.
template <class T>
double checked_logit_options(std::optional<double> softmax_scale, std::optional<double> logit_softcap,
                             const RotaryEmbedding& rope) {
  if (softmax_scale) {
    if (!std::isfinite(*softmax_scale)) fail("softmax_scale", to_text(*softmax_scale), "must be finite");
    check_scales<T>(*softmax_scale, rope, std::max<Index>(rope.rotary_dim(), 1));
  }
  return logit_softcap ? checked_softcap<T>(*logit_softcap) : 0;
}

/// Kernels with a policy, and what they choose from.
template <class T>
struct SelectedKernels {
  const SelectionRef<T>& selection;
  decltype(&attend_selected<T>) attend;
};

/// Attention of an operator on a source that suits it; see ComposedAttention. `selected` is null where every key is
/// visited; who never gives it compiles no kernels for it.
template <class T>
void checked_call(const DeviceRef& device, const OperatorRef& attention, const QueryTensor<T>& query,
                  const SourceRef<T>& keys, const OutTensor<T>& out, const CallOptions<T>& options,
                  const SelectedKernels<T>* selected) {
  const QueryTensor<T> q(checked_view("query", query, 4, true), query.decode);
  const OutTensor<T> o(checked_view("out", out, 4, true), out.write);
  const QueryPlaces places{q.shape[1], options.q_offset, options.cu_seqlens};
  check_shapes(q.shape, {keys.sequences, keys.kv_heads, keys.head_dim, keys.v_head_dim}, o.shape,
               attention.rope.rotary_dim());
  const double scale = attention.scale(q.shape[3]);
  check_scales<T>(scale, attention.rope, q.shape[3]);
  check_sequences(places, q.shape[0], keys.sequences, [&](Index sequence) { return keys.length(sequence); });
  AttentionCall<T> call(q, o, places);
  call.sink_logits = checked_sinks(options.sink_logits, q.shape[2]);
  call.lse = checked_rows("lse", options.lse, q.shape);
  call.skipped = checked_rows("skipped", options.skipped, q.shape);
  const NamedRange inputs[] = {
      {"query", byte_range(q)}, {"sink_logits", byte_range(options.sink_logits)}, keys.memory[0], keys.memory[1]};
  const Written outputs[] = {written_by("out", o), written_by("lse", AnyTensor(call.lse)),
                             written_by("skipped", AnyTensor(call.skipped))};
  check_memory(inputs, outputs);
  if (selected != nullptr) {
    const SelectionRef<T>& selection = selected->selection;
    check_selection(selection);
    // Summaries that a cache has must be of the very blocks.
    if (keys.has_summaries() && (selection.ranks() || call.skipped.data != nullptr)) {
      check_equal("cache", "summary_block", keys.summary_block, "the selection's blocks", selection.block_size);
    }
  }
  if (q.shape[0] == 0 || q.shape[1] == 0) return;

  const AttentionParams params{attention.composition, attention.rope,
                               LogitScales(scale, attention.rope.attention_factor()), attention.logit_softcap};
  if (selected == nullptr) {
    attend(device, params, keys, call, options.workspace);
  } else {
    selected->attend(device, params, keys, call, options.workspace, selected->selection, attention.selectable_part,
                     options.chosen);
  }
}

}  // namespace dca::detail
