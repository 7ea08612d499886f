// Policies that choose keys, and settings with which nothing can be made.
#include "fuzz/operator_calls.hpp"
#include "fuzz/operator_dense.hpp"
#include "fuzz/operator_targets.hpp"

namespace dca_fuzz {
namespace {

using Chosen = std::vector<dca::ChosenBlocks>;
using Call = std::function<void(const Arguments<float, float, float>&)>;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

template <class Layout>
dca::AttentionConfig<Layout> config_of(const Case& c, Layout layout) {
  return {
      .chunks = layout, .rope = c.ropes().library, .softmax_scale = c.softmax_scale, .logit_softcap = c.logit_softcap};
}

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

struct Policy {
  Index block_size;
  std::optional<Index> budget;  // of TopBlocks
};

/// A call with a policy on a problem's own keys and values, or on a cache of them.
void check_policy(Bytes& bytes, const Case& c, const Numbers& numbers, Arguments<float, float, float> arguments,
                  Results<float, float>& results, const Call& call, const reference::PositionMatrix& all,
                  const std::function<bool(Index, Index)>& far, Policy policy) {
  Chosen chosen;
  const Sizes& s = c.sizes;
  Strided<float> skipped(bytes, {s.batch, s.q_len, s.heads});
  if (bytes.one_in(2)) arguments.options.skipped = skipped.view();
  arguments.options.chosen = &chosen;
  if (spoiled(bytes, arguments, results, call)) {
    require(skipped.untouched() && chosen.empty(), "a choice is told although the call was refused");
    return;
  }
  call(arguments);
  results.require_gaps_untouched();
  require(skipped.gaps_untouched(), "written between the elements of skipped");
  check_choice(chosen, policy.block_size, policy.budget);
  const Index first = c.first_position(s.q_len, s.kv_len);
  const auto visited = answer(
      c, numbers, first, [&](Index b, Index h) { return chosen_positions(all, far, chosen, policy.block_size, b, h); });
  const auto magnitudes = magnitudes_of(c, numbers, 1e10);
  check_result<float, float>(results.out.read(), results.lse.read(), visited, magnitudes, c.value_gain);
  if (arguments.options.skipped.data == nullptr) return;
  const auto exact = answer(
      c, numbers, first, [&](Index, Index) -> const auto& { return all; });
  const auto bounds = skipped.read();
  const double slack = 4 * dca_test::weight_bound<float>(magnitudes);
  for (std::size_t k = 0; k < bounds.size(); ++k) {
    const double seen = std::isinf(exact.lse.data[k]) ? 1.0 : std::exp(visited.lse.data[k] - exact.lse.data[k]);
    require(bounds[k] >= 1 - seen - slack && bounds[k] <= 1,
            "skipped is " + std::to_string(bounds[k]) + ", left out was " + std::to_string(1 - seen));
  }
}

/// Keys and values of a problem in a cache that keeps summaries; batch entry b in sequence b.
dca::KeyValueCache<float> cache_of(const dca::DualChunkAttention<float>& attention, const Sizes& s, Index block,
                                   dca::TensorView<const float> key, dca::TensorView<const float> value) {
  auto cache = attention.make_cache<float>({s.kv_heads, s.head_dim, s.v_head_dim, block}, s.batch,
                                           {.tokens = std::max<Index>(s.kv_len, 1)});
  cache.append(Eigen::DefaultDevice{}, key, value);
  return cache;
}

void check_refused_policies(Bytes& bytes, const Case& c, const Arguments<float, float, float>& x,
                            const Results<float, float>& results) {
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
  const dca::DualChunkAttention<float> attention(config_of<dca::ChunkLayout>(c, c.chunks));
  require(refuses([&] { attend_selecting(attention, x.query, DenseFloats(x.key, x.value), x.out, x.options, policy); }),
          "a policy of wrong numbers");
  results.require_untouched("a policy of wrong numbers");
}

}  // namespace

void fuzz_selection(Bytes& bytes) {
  const Index kind = bytes.integer(0, 4);
  Case c = case_of(bytes);
  c.poisons = 0;
  c.sizes.batch = bytes.pick<Index>({1, 1, 2});
  Sizes& s = c.sizes;
  s.kv_len = length_of_tokens(bytes, 1, 2000);
  s.q_len = query_count(bytes, s);
  trying(c.text());
  const Numbers numbers = numbers_of<float>(bytes, c, s);
  Strided<float> query(bytes, numbers.query.shape), key(bytes, numbers.key.shape), value(bytes, numbers.value.shape);
  query.write(numbers.query);
  key.write(numbers.key);
  value.write(numbers.value);
  Results<float, float> results(bytes, s);
  const std::vector<float> sinks = sinks_of<float>(c);
  const Arguments<float, float, float> arguments{std::as_const(query).view(),
                                                 std::as_const(key).view(),
                                                 std::as_const(value).view(),
                                                 results.out.view(),
                                                 {.lse = results.lse.view(), .sink_logits = sinks},
                                                 s.kv_heads,
                                                 s.kv_len - s.q_len,
                                                 s.batch};
  if (kind == 4 && bytes.one_in(4)) return check_refused_policies(bytes, c, arguments, results);

  const Index block = bytes.pick<Index>({8, 1, 3, 16, 24, 128, 1000});
  const Index budget = bytes.pick<Index>({0, 1, 8, 40, 128, 2000});
  const dca::TopBlocks top{.keys = budget,
                           .block = block,
                           .query_block = bytes.pick<Index>({1, 7, 16, 128, 5000}),
                           .trust_in_bound = bytes.pick<double>({1.0, 0.0, 0.5})};
  const auto of_dense = [&](const auto& attention, const auto& policy) -> Call {
    return [&](const Arguments<float, float, float>& x) {
      attend_selecting(attention, x.query, DenseFloats(x.key, x.value), x.out, x.options, policy);
    };
  };
  const dca::DualChunkAttention<float> attention(config_of<dca::ChunkLayout>(c, c.chunks));
  const Index n = c.chunks.chunk_size - c.chunks.local_window;
  const auto all = reference::dual_chunk(c.chunks.chunk_size, c.chunks.local_window);
  const std::function<bool(Index, Index)> far = [n](Index i, Index j) { return i / n - j / n >= 2; };
  const auto check = [&](const Arguments<float, float, float>& x, const Call& call, Policy policy) {
    check_policy(bytes, c, numbers, x, results, call, all, far, policy);
  };
  if constexpr (compiles_all) {
    if (kind == 1) {
      const dca::FirstAndRecent ends{.first = bytes.pick<Index>({0, 1, 100}), .recent = budget, .block = block};
      return check(arguments, of_dense(attention, ends), {block, std::nullopt});
    }
    if (kind == 2) {
      const auto cache = cache_of(attention, s, block, arguments.key, arguments.value);
      Arguments<float, float, float> x = arguments;
      x.key = x.value = {};
      return check(x,
                   [&](const Arguments<float, float, float>& y) {
                     attend_selecting(attention, y.query, cache.view(), y.out, y.options, top);
                   },
                   {block, budget});
    }
    if (kind == 3) {
      const OwnLayout layout = own_layout(bytes);
      const OwnAttention<float> own(config_of(c, layout));
      const std::function<bool(Index, Index)> own_far = [&](Index i, Index j) { return j < layout.first_near(i); };
      return check_policy(bytes, c, numbers, arguments, results, of_dense(own, top), own_positions(layout), own_far,
                          {block, budget});
    }
  }
  check(arguments, of_dense(attention, top), {block, budget});
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
