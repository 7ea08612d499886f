// Calls of operators, with their options, and merges.
#include "arguments.hpp"

namespace dca::c {
namespace {

/// Options of a call, and the workspace that they name.
struct Options {
  compiled::CallOptions call;
  WorkspaceObject* workspace = nullptr;
};

compiled::Selection selection_of(const dca_selection* selection) {
  if (selection == nullptr) return {};
  const dca_selection given = read_struct("selection", selection, DCA_SELECTION_INIT);
  return {.policy = enum_of("selection policy", given.policy, Policy::top_blocks,
                            "must be DCA_POLICY_ALL, DCA_POLICY_FIRST_AND_RECENT or DCA_POLICY_TOP_BLOCKS"),
          .keys = given.keys,
          .first = given.first,
          .recent = given.recent,
          .block = given.block,
          .query_block = given.query_block,
          .trust_in_bound = given.trust_in_bound};
}

Options options_of(const dca_options* options) {
  if (options == nullptr) return {};
  const dca_options given = read_struct("options", options, DCA_OPTIONS_INIT);
  Options made{.call = {
                   .q_offset = optional_of("q_offset", "has_q_offset", given.has_q_offset, given.q_offset),
                   .lse = tensor_of("lse", &given.lse),
                   .sink_logits = tensor_of("sink_logits", &given.sink_logits),
                   .cu_seqlens = span_of("cu_seqlens", given.cu_seqlens, given.cu_seqlens_size),
                   .key_cu_seqlens = span_of("key_cu_seqlens", given.key_cu_seqlens, given.key_cu_seqlens_size),
                   .selection = selection_of(given.selection),
                   .skipped = tensor_of("skipped", &given.skipped),
               }};
  const std::span<const Index> sequences = span_of("sequences", given.sequences, given.sequence_count);
  if (given.sequences != nullptr) made.call.sequences = sequences;
  if (given.workspace != nullptr) {
    made.workspace = &object_of("workspace", given.workspace);
    made.call.workspace = &made.workspace->workspace;
  }
  if (given.chosen != nullptr) made.call.chosen = &object_of("chosen", given.chosen).choices;
  return made;
}

}  // namespace
}  // namespace dca::c

using namespace dca::c;

dca_status dca_attend(const dca_attention* attention, const dca_threads* threads, const dca_const_tensor* query,
                      const dca_const_tensor* key, const dca_const_tensor* value, const dca_tensor* out,
                      const dca_options* options) {
  return guarded([&] {
    const AttentionObject& object = object_of("attention", attention);
    object.attention(executor_of(threads), tensor_of("query", query), tensor_of("key", key), tensor_of("value", value),
                     tensor_of("out", out), options_of(options).call);
  });
}

dca_status dca_attend_cache(const dca_attention* attention, const dca_threads* threads, const dca_const_tensor* query,
                            const dca_cache* cache, const dca_tensor* out, const dca_options* options) {
  return guarded([&] {
    const AttentionObject& object = object_of("attention", attention);
    object.attention(executor_of(threads), tensor_of("query", query), object_of("cache", cache).cache,
                     tensor_of("out", out), options_of(options).call);
  });
}

dca_status dca_attend_paged_cache(const dca_attention* attention, const dca_threads* threads,
                                  const dca_const_tensor* query, const dca_paged_cache* cache, const dca_tensor* out,
                                  const dca_options* options) {
  return guarded([&] {
    const AttentionObject& object = object_of("attention", attention);
    object.attention(executor_of(threads), tensor_of("query", query), object_of("cache", cache).cache,
                     tensor_of("out", out), options_of(options).call);
  });
}

dca_status dca_attend_pool(const dca_attention* attention, const dca_threads* threads, const dca_const_tensor* query,
                           const dca_pool* pool, const dca_block_table* tables, int64_t table_count,
                           const dca_tensor* out, const dca_options* options) {
  return guarded([&] {
    const AttentionObject& object = object_of("attention", attention);
    const Options made = options_of(options);
    std::vector<dca::BlockTable> own;
    const auto all = tables_of(tables, table_count, made.workspace != nullptr ? made.workspace->tables : own);
    object.attention(executor_of(threads), tensor_of("query", query), object_of("pool", pool).pool, all,
                     tensor_of("out", out), made.call);
  });
}

dca_status dca_merge(const dca_threads* threads, const dca_const_partial_state* states, int64_t state_count,
                     const dca_partial_state* result, const dca_const_tensor* sink_logits) {
  return guarded([&] {
    const auto given = span_of("states", states, state_count);
    std::vector<dca::compiled::ConstPartialState> made(given.size());
    std::transform(given.begin(), given.end(), made.begin(), [](const dca_const_partial_state& state) {
      return dca::compiled::ConstPartialState{tensor_of("states", &state.out), tensor_of("states", &state.lse)};
    });
    check_given("result", result, "must point to a state");
    const dca::compiled::PartialState to{tensor_of("result", &result->out), tensor_of("result", &result->lse)};
    dca::compiled::merge(executor_of(threads), made, to,
                         sink_logits == nullptr ? dca::compiled::ConstTensor() : tensor_of("sink_logits", sink_logits));
  });
}

dca_status dca_choices_create(dca_choices** choices) {
  return create("choices", choices, [] { return std::make_unique<ChoicesObject>(); });
}

dca_status dca_choices_destroy(dca_choices* choices) { return destroy("choices", choices); }

dca_status dca_choices_size(const dca_choices* choices, int64_t* size) {
  return write_result("size", size, [&] { return object_of("choices", choices).choices.size(); });
}

dca_status dca_choices_get(const dca_choices* choices, int64_t k, dca_choice* choice) {
  return guarded([&] {
    const dca::compiled::Choices::Choice found = object_of("choices", choices).choices[k];
    write_struct("choice", choice,
                 {sizeof(dca_choice),
                  found.sequence,
                  found.kv_head,
                  {found.queries.first, found.queries.last},
                  {found.keys.first, found.keys.last},
                  found.blocks.data(),
                  std::ssize(found.blocks)});
  });
}

dca_status dca_choices_clear(dca_choices* choices) {
  return guarded([&] { object_of("choices", choices).choices.clear(); });
}
