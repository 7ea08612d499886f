// Partial attention states and their merge.
#pragma once

#include <cmath>
#include <span>

#include "dca/device/scratch.hpp"
#include "dca/device/workers.hpp"
#include "dca/instruction_set/kernel_table.hpp"
#include "dca/tensor/checks.hpp"

namespace dca {

/// Attention over some of the keys: out [batch, q_len, heads, v_head_dim] normalised over those keys alone, and the
/// natural log of their sum of exp(logit), lse [batch, q_len, heads]. No keys: out 0, lse -inf. May drop the batch.
template <class T>
struct PartialState {
  TensorView<T> out;
  TensorView<T> lse;
};

namespace detail {

template <class T>
PartialState<T> checked_state(const char* argument, PartialState<T> state) {
  state.out = checked_view(argument, state.out, 4, true);
  state.lse = checked_view(argument, state.lse, 3, false);
  for (int k = 0; k < 3; ++k) {
    if (state.lse.shape[k] != state.out.shape[k]) {
      fail(argument, "lse " + describe(state.lse.shape),
           "must be out without its last dimension, " + describe(state.out.shape));
    }
  }
  return state;
}

template <class T>
void check_same_or_disjoint(ByteRange written, const TensorView<T>& result, const TensorView<const T>& state) {
  const bool same = result.data == state.data && result.strides == state.strides;
  if (!same) check_disjoint("result", written, "a state", byte_range(state));
}

/// One row, by this file's instruction set or by the compiled kernels': weights exp(lse_p - lse) in double, states in
/// order. `weights` has room for one of each state, `sums` for a row.
template <class T>
void merge_row(std::span<const PartialState<const T>> states, const PartialState<T>& result, const Index at[3],
               const T* sink_logits, double* weights, double* sums) {
#if defined(DCA_COMPILED_KERNELS)
  kernels_of<T>().merge_row(states, result, at, sink_logits, weights, sums);
#else
  const auto place = [&](const Extents& strides) {
    return at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2];
  };
  const double lowest = -std::numeric_limits<double>::infinity();
  double max = lowest;
  for (const auto& state : states) max = std::max(max, static_cast<double>(state.lse.data[place(state.lse.strides)]));
  const double base = max == lowest ? 0.0 : max;  // -inf - -inf would be NaN
  double total = 0;
  for (std::size_t p = 0; p < states.size(); ++p) {
    const TensorView<const T>& state = states[p].lse;
    weights[p] = std::exp(static_cast<double>(state.data[place(state.strides)]) - base);
    total += weights[p];
  }
  const double lse = base + std::log(total);
  double scale = total == 0 ? 0.0 : 1.0 / total;
  if (sink_logits != nullptr && total != 0) {
    const double above = static_cast<double>(sink_logits[at[2]]) - base;
    const double under = std::exp(-std::abs(above));  // never overflows
    scale = above > 0 ? under / (total * under + 1) : 1 / (total + under);
  }
  const Index features = result.out.shape[3];
  std::fill_n(sums, features, 0.0);
  for (std::size_t p = 0; p < states.size(); ++p) {
    const double share = weights[p] * scale;
    if (share == 0) continue;  // a state without keys is ignored, whatever its out holds
    const T* const out = states[p].out.data + place(states[p].out.strides);
    for (Index d = 0; d < features; ++d) sums[d] += share * static_cast<double>(out[d]);
  }
  T* const to = result.out.data + place(result.out.strides);
  for (Index d = 0; d < features; ++d) to[d] = static_cast<T>(sums[d]);
  result.lse.data[place(result.lse.strides)] = static_cast<T>(lse);
#endif
}

}  // namespace detail

/// result.out = sum over states p of exp(lse_p - lse) * out_p, result.lse = lse = ln(sum of exp(lse_p)). Associative.
///
/// sink_logits [heads] are applied here, once: they scale out down and do not change lse. States without keys are
/// ignored; if there are no others, the result has out 0 and lse -inf. A state may be the result itself (same memory
/// and strides) but not overlap it otherwise; sink_logits must not overlap it. Throws std::invalid_argument, with
/// nothing written, where there is no state, shapes differ, or memory overlaps; std::bad_alloc, likewise, without
/// memory.
template <class Device, class T>
void merge(const Device& device, std::span<const PartialState<const T>> states, PartialState<T> result,
           std::span<const T> sink_logits = {}) {
  if (states.empty()) detail::fail("states", "none", "must be at least 1");
  result = detail::checked_state("result", result);
  detail::check_no_self_overlap("result", result.out.shape, result.out.strides);
  detail::check_no_self_overlap("result", result.lse.shape, result.lse.strides);
  detail::check_disjoint("result", detail::byte_range(result.lse), "its out", detail::byte_range(result.out));
  const Extents shape = result.out.shape;
  const detail::ByteRange out = detail::byte_range(result.out), lse = detail::byte_range(result.lse);
  if (!sink_logits.empty()) {
    detail::check_equal("sink_logits", "size", static_cast<Index>(sink_logits.size()), "heads", shape[2]);
    for (const detail::ByteRange& written : {out, lse}) {
      detail::check_disjoint("result", written, "sink_logits", detail::byte_range(sink_logits));
    }
  }
  std::vector<PartialState<const T>> checked(states.begin(), states.end());
  for (PartialState<const T>& state : checked) {
    state = detail::checked_state("states", state);
    if (state.out.shape != shape) {
      detail::fail("states", "shape " + detail::describe(state.out.shape),
                   "must be that of result, " + detail::describe(shape));
    }
    detail::check_same_or_disjoint(out, result.out, state.out);
    detail::check_same_or_disjoint(lse, result.lse, state.lse);
    detail::check_disjoint("result", out, "a state's lse", detail::byte_range(state.lse));
    detail::check_disjoint("result", lse, "a state's out", detail::byte_range(state.out));
  }
  const Index rows = shape[0] * shape[1] * shape[2];
  constexpr Index rows_per_task = 64;
  const Index tasks = detail::ceil_div(rows, rows_per_task);
  const T* const sinks = sink_logits.empty() ? nullptr : sink_logits.data();
  const Index workers = detail::worker_count(device, tasks);
  const auto count = static_cast<Index>(checked.size());
  detail::Arena counter;
  counter.take<double>(count);
  counter.take<double>(shape[3]);
  detail::Scratch scratch(device, nullptr, workers * counter.used());
  detail::run_tasks(device, scratch.helpers(), workers, tasks, [&](Index worker, Index task) {
    detail::Arena arena(scratch.data() + worker * counter.used());
    double* const weights = arena.take<double>(count);
    double* const sums = arena.take<double>(shape[3]);
    for (Index row = task * rows_per_task; row < std::min(rows, (task + 1) * rows_per_task); ++row) {
      const Index at[3] = {row / (shape[1] * shape[2]), row / shape[2] % shape[1], row % shape[2]};
      detail::merge_row<T>(checked, result, at, sinks, weights, sums);
    }
  });
}

}  // namespace dca
