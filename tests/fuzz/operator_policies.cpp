// Policies that choose keys, and settings with which nothing can be made.
#include "fuzz/operator_dense.hpp"
#include "fuzz/operator_targets.hpp"
#include "fuzz/own_parts.hpp"

namespace dca_fuzz {
namespace {

using Chosen = std::vector<dca::ChosenBlocks>;
using Problem = DenseProblem<float, float, float>;
using FloatCall = Call<float, float, float>;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Who sees what under a choice of blocks: far keys only where they were chosen for all that share the query's record.
reference::PositionMatrix chosen_positions(const reference::PositionMatrix& all,
                                           const std::function<bool(Index, Index)>& far, const Chosen& chosen,
                                           Index block_size, Index sequence, Index kv_head) {
  return [&all, &far, &chosen, block_size, sequence, kv_head](std::int64_t i,
                                                              std::int64_t j) -> std::optional<reference::Positions> {
    const auto at = all(i, j);
    if (!at || !far(i, j)) return at;
    for (const auto& [query, blocks] : chosen) {
      if (query.sequence != sequence || query.kv_head != kv_head) continue;
      if (i < query.queries.first || i >= query.queries.last) continue;
      if (std::binary_search(blocks.begin(), blocks.end(), j / block_size)) return at;
      return std::nullopt;
    }
    report("no choice is told for query " + std::to_string(i));
  };
}

/// Blocks ascend, lie in the range, and are as many as TopBlocks promises where all queries of the record see the same.
void check_choice(const Chosen& chosen, Index block_size, std::optional<Index> budget) {
  for (const auto& [query, blocks] : chosen) {
    const Index all = dca::detail::ceil_div(query.keys.last, block_size);
    for (std::size_t k = 0; k < blocks.size(); ++k) {
      require(blocks[k] >= 0 && blocks[k] < all && (k == 0 || blocks[k] > blocks[k - 1]), "blocks are out of order");
    }
    if (!budget || query.queries.last - query.queries.first > 1) continue;
    const Index wanted = std::min(all, dca::detail::ceil_div(*budget, block_size));
    require(static_cast<Index>(blocks.size()) == wanted, "not as many blocks as the budget allows");
    if (wanted > 0) require(blocks.back() == all - 1, "the last block is not among the chosen");
    if (wanted > 1) require(blocks.front() == 0, "the first block is not among the chosen");
  }
}

/// What a policy is of a call: blocks of keys, and as many keys as TopBlocks has.
struct Policy {
  Index block_size;
  std::optional<Index> budget;
};

/// Who sees what, and which keys only where they were chosen.
struct Definition {
  reference::PositionMatrix all;
  std::function<bool(Index, Index)> far;
  double largest_position;
};

/// `skipped` against what was left out: a bound from above, of at most 1.
void check_skipped(const Problem& problem, const Strided<float>& skipped, const reference::Result& visited,
                   const Definition& definition, const dca_test::Magnitudes& magnitudes) {
  const Sizes& s = problem.c.sizes;
  const auto exact = answer(problem.c, problem.numbers, problem.c.first_position(s.q_len, s.kv_len),
                            [&](Index, Index) { return definition.all; });
  const auto bounds = skipped.read();
  const double slack = 4 * dca_test::weight_bound<float>(magnitudes);
  for (std::size_t k = 0; k < bounds.size(); ++k) {
    const double seen = std::isinf(exact.lse.data[k]) ? 1.0 : std::exp(visited.lse.data[k] - exact.lse.data[k]);
    require(bounds[k] >= 1 - seen - slack && bounds[k] <= 1,
            "skipped is " + std::to_string(bounds[k]) + ", left out was " + std::to_string(1 - seen));
  }
}

/// A call with a policy on a problem's own keys and values, or on a cache of them.
void check_policy(Bytes& bytes, Problem& problem, const FloatCall& call, const Definition& definition, Policy policy) {
  const Case& c = problem.c;
  const Sizes& s = c.sizes;
  Chosen chosen;
  Strided<float> skipped(bytes, {s.batch, s.q_len, s.heads});
  auto& options = problem.arguments.options;
  if (bytes.one_in(2)) options.skipped = skipped.view();
  options.chosen = &chosen;
  const bool refused = spoiled<float, float, float>(bytes, problem.arguments, call, [&](const std::string& what) {
    problem.require_untouched(what);
    require(skipped.untouched() && chosen.empty(), "a choice is told although the call was refused");
  });
  if (refused) return;
  call(problem.arguments);
  problem.require_inputs_untouched();
  problem.results.require_gaps_untouched();
  require(skipped.gaps_untouched(), "written between the elements of skipped");
  check_choice(chosen, policy.block_size, policy.budget);
  const auto visited = answer(c, problem.numbers, c.first_position(s.q_len, s.kv_len), [&](Index b, Index h) {
    return chosen_positions(definition.all, definition.far, chosen, policy.block_size, b, h);
  });
  const auto magnitudes = magnitudes_of(c, problem.numbers, definition.largest_position);
  check_result<float, float>(problem.results.out.read(), problem.results.lse.read(), visited, magnitudes, c.value_gain);
  if (options.skipped.data != nullptr) check_skipped(problem, skipped, visited, definition, magnitudes);
}

/// Keys and values of a problem in a cache that keeps summaries; batch entry b in sequence b.
dca::KeyValueCache<float> cache_of(const dca::DualChunkAttention<float>& attention, const Problem& problem,
                                   Index block) {
  const Sizes& s = problem.c.sizes;
  auto cache = attention.make_cache<float>({s.kv_heads, s.head_dim, s.v_head_dim, block}, s.batch,
                                           {.tokens = std::max<Index>(s.kv_len, 1)});
  cache.append(Eigen::DefaultDevice{}, problem.arguments.key, problem.arguments.value);
  return cache;
}

/// A call with a policy on tensors.
template <class Attention, class Selection>
FloatCall on_tensors(const Attention& attention, const Selection& selection) {
  return [attention, selection](const Arguments<float, float, float>& x) {
    attention(Eigen::DefaultDevice{}, x.query, x.key, x.value, x.out, x.options, selection);
  };
}

void check_refused_policies(Bytes& bytes, const Problem& problem) {
  dca::TopBlocks policy{.keys = 10, .block = 8};
  const Index wrong = bytes.pick<Index>({-1, 0, std::numeric_limits<Index>::min(), std::numeric_limits<Index>::max()});
  const bool negative = wrong < 0;
  switch (bytes.integer(0, 3)) {
    case 0:
      policy.block = wrong;
      break;
    case 1:
      policy.query_block = wrong;
      break;
    case 2:
      if (!negative) return;
      policy.keys = wrong;
      break;
    default:
      policy.trust_in_bound = bytes.pick<double>({-0.1, 1.1, infinity, not_a_number});
  }
  const dca::DualChunkAttention<float> attention(config_of<dca::ChunkLayout>(problem.c, problem.c.chunks));
  const FloatCall call = on_tensors(attention, policy);
  require(refuses([&] { call(problem.arguments); }), "a policy of wrong numbers");
  problem.require_untouched("a policy of wrong numbers");
}

Case selection_case(Bytes& bytes) {
  Case c = case_of(bytes);
  c.poisons = 0;
  c.sizes.batch = bytes.pick<Index>({1, 1, 2});
  c.sizes.kv_len = length_of_tokens(bytes, 1, 2000);
  c.sizes.q_len = query_count(bytes, c.sizes);
  return c;
}

}  // namespace

void fuzz_selection(Bytes& bytes) {
  const Index kind = bytes.integer(0, 4);
  const Case c = selection_case(bytes);
  trying(c.text());
  Problem problem(bytes, c);
  if (kind == 4 && bytes.one_in(4)) return check_refused_policies(bytes, problem);

  const Index block = bytes.pick<Index>({8, 1, 3, 16, 24, 128, 1000});
  const Index budget = bytes.pick<Index>({0, 1, 8, 40, 128, 2000});
  const dca::TopBlocks top{.keys = budget,
                           .block = block,
                           .query_block = bytes.pick<Index>({1, 7, 16, 128, 5000}),
                           .trust_in_bound = bytes.pick<double>({1.0, 0.0, 0.5})};
  const dca::DualChunkAttention<float> attention(config_of<dca::ChunkLayout>(c, c.chunks));
  const Index n = c.chunks.chunk_size - c.chunks.local_window;
  const Definition dual_chunk{reference::dual_chunk(c.chunks.chunk_size, c.chunks.local_window),
                              [n](Index i, Index j) { return i / n - j / n >= 2; }, 1e4};
  if (kind == 1) {
    const dca::FirstAndRecent ends{.first = bytes.pick<Index>({0, 1, 100}), .recent = budget, .block = block};
    return check_policy(bytes, problem, on_tensors(attention, ends), dual_chunk, {block, std::nullopt});
  }
  if (kind == 2) {
    const auto cache = cache_of(attention, problem, block);
    const FloatCall on_cache = [&](const Arguments<float, float, float>& x) {
      attention(Eigen::DefaultDevice{}, x.query, cache, x.out, x.options, top);
    };
    problem.arguments.key = problem.arguments.value = {};
    return check_policy(bytes, problem, on_cache, dual_chunk, {block, budget});
  }
  if (kind == 3) {
    const OwnLayout layout = own_layout(bytes);
    const Definition own{own_positions(layout), [layout](Index i, Index j) { return j < layout.first_near(i); },
                         1e4 + std::abs(static_cast<double>(layout.shift))};
    return check_policy(bytes, problem, on_tensors(OwnAttention<float>(config_of(c, layout)), top), own,
                        {block, budget});
  }
  check_policy(bytes, problem, on_tensors(attention, top), dual_chunk, {block, budget});
}

void fuzz_settings(Bytes& bytes) {
  const double wrong = bytes.pick<double>({not_a_number, infinity, -infinity, -1.0, 0.0});
  const auto rope = [](double attention_factor, double frequency) {
    return dca::RotaryEmbedding({.inv_freq = {1.0, frequency}, .attention_factor = attention_factor});
  };
  const auto with = [&](std::optional<double> scale, std::optional<double> cap) {
    dca::CausalAttention<float>({.rope = rope(1, 0.1), .softmax_scale = scale, .logit_softcap = cap});
  };
  switch (bytes.integer(0, 4)) {
    case 0:
      require(refuses([&] { with(wrong, {}); }) == !std::isfinite(wrong), "softmax_scale " + std::to_string(wrong));
      break;
    case 1:
      require(refuses([&] { with({}, wrong); }), "logit_softcap " + std::to_string(wrong));
      break;
    case 2:
      require(refuses([&] { rope(wrong, 0.1); }), "attention_factor " + std::to_string(wrong));
      break;
    case 3:
      require(refuses([&] { rope(1, wrong); }) == !std::isfinite(wrong), "inv_freq " + std::to_string(wrong));
      break;
    default: {
      const auto size = static_cast<Index>(bytes.word()), window = static_cast<Index>(bytes.word());
      const bool right = size >= 1 && size <= std::numeric_limits<Index>::max() / 4 && window >= 0 && window < size;
      require(refuses([&] {
                dca::ChunkLayout(dca::ChunkConfig{size, window});
              }) == !right,
              "chunks of " + std::to_string(size) + ", " + std::to_string(window));
    }
  }
}

}  // namespace dca_fuzz
