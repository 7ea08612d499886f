// Queries that choose among the keys of distant chunks.
#include "support/busy_pools.hpp"
#include "support/catch.hpp"
#include "support/selecting.hpp"

using namespace dca_test;
using dca::FirstAndRecent;
using dca::TopBlocks;

namespace {

constexpr dca::ChunkConfig chunks{90, 20};

}  // namespace

TEMPLATE_TEST_CASE("with every block chosen the result has the bits of the exact one", "", float, double) {
  for (const dca::ChunkConfig config : {chunks, dca::ChunkConfig{300, 44}, dca::ChunkConfig{3, 2}}) {
    for (const Index q_len : {1, 5, 300, 700}) {
      Random random(static_cast<std::uint64_t>(q_len));
      const Inputs<TestType> in({2, q_len, 700, 2, 1, 16, 16}, random);
      const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(config, 16);
      const auto exact = run(attention, in);
      INFO("chunk_size " << config.chunk_size << " q_len " << q_len);
      for (const Index block : {1, 37, 128, 1000}) {
        CHECK(same_bits(select(attention, in, TopBlocks{.keys = 700, .block = block}).outputs, exact));
        CHECK(
            same_bits(select(attention, in, FirstAndRecent{.first = 0, .recent = 700, .block = block}).outputs, exact));
        CHECK(same_bits(select(attention, in, EveryNth{1, block}).outputs, exact));
      }
    }
  }
}

TEMPLATE_TEST_CASE("what is visited is attended to as the definition says", "", float, double) {
  for (const dca::ChunkConfig config : {chunks, dca::ChunkConfig{12, 5}, dca::ChunkConfig{300, 1}}) {
    for (const Index q_len : {1, 4, 120, 460}) {
      Random random(static_cast<std::uint64_t>(q_len + config.chunk_size));
      const Inputs<TestType> in({1, q_len, 460, 3, 1, 16, 24}, random, 2.0);
      for (const Index block : {5, 16, 64}) {
        INFO("chunk_size " << config.chunk_size << " q_len " << q_len << " block " << block);
        CHECK(check_chosen(in, config, TopBlocks{.keys = 64, .block = block, .query_block = 40}) == "");
        CHECK(check_chosen(in, config, FirstAndRecent{.first = 20, .recent = 40, .block = block}) == "");
        CHECK(check_chosen(in, config, EveryNth{3, block}) == "");
      }
    }
  }
}

TEST_CASE("chunks of one token, and blocks of one key") {
  Random random;
  const Inputs<float> in({1, 70, 90, 2, 1, 16, 16}, random);
  for (const dca::ChunkConfig config : {dca::ChunkConfig{1, 0}, dca::ChunkConfig{2, 1}, dca::ChunkConfig{2, 0}}) {
    CHECK(check_chosen(in, config, TopBlocks{.keys = 8, .block = 1, .query_block = 1}) == "");
    CHECK(check_chosen(in, config, TopBlocks{.keys = 8, .block = 3}) == "");
    CHECK(check_chosen(in, config, FirstAndRecent{.first = 4, .recent = 5, .block = 2}) == "");
  }
}

TEST_CASE("first and recent keys are those of the range, by whole blocks") {
  Random random;
  const Inputs<float> in({1, 400, 400, 1, 1, 16, 16}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 16);
  const auto result = select(attention, in, FirstAndRecent{.first = 10, .recent = 20, .block = 8});
  Index queries = 0;
  for (const auto& [query, blocks] : result.chosen) {
    queries += query.queries.last - query.queries.first;
    const Index range = std::max<Index>(query.queries.first / 70 - 1, 0) * 70;
    CHECK(query.keys == dca::KeyRange{0, range});
    std::vector<Index> expected;
    for (Index b = 0; b * 8 < range; ++b) {
      if (b * 8 < 10 || (b + 1) * 8 > range - 20) expected.push_back(b);
    }
    CHECK(blocks == expected);
  }
  CHECK(queries == 400);
}

TEMPLATE_TEST_CASE("top blocks are within the budget, with the first and the last among them", "", float, double) {
  Random random;
  const Inputs<TestType> in({1, 900, 900, 2, 1, 16, 16}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  for (const Index keys : {0, 1, 32, 33, 96, 300}) {
    for (const auto& [query, blocks] : select(attention, in, TopBlocks{.keys = keys, .block = 32}).chosen) {
      const Index all = (query.keys.last + 31) / 32, wanted = std::min(all, (keys + 31) / 32);
      REQUIRE(static_cast<Index>(blocks.size()) == wanted);
      if (wanted > 0) REQUIRE(blocks.back() == all - 1);
      if (wanted > 1) REQUIRE(blocks.front() == 0);
    }
  }
}

TEMPLATE_TEST_CASE("a key that a query looks for is found wherever it stands", "", float, double) {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 0);  // no rotation: it is what it is
  for (const Index q_len : {1, 60}) {
    for (const Index needle : {40, 200, 333, 500}) {
      Inputs<TestType> in({1, q_len, 700, 1, 1, 16, 16}, random, 0.1);
      const double largest = largest_finite(to_array(in.key, in.key_shape()));
      for (Index d = 0; d < 16; ++d) {
        // Large enough for the mean of its block to stand 10 standard deviations above those of others.
        in.key[static_cast<std::size_t>(needle * 16 + d)] = d % 2 == 0 ? 24 : -24;
        in.query[in.query.size() - 16 + static_cast<std::size_t>(d)] = d % 2 == 0 ? 5 : -5;
      }
      for (const double trust : {1.0, 0.5, 0.0}) {
        const auto result = select(attention, in, TopBlocks{.keys = 96, .block = 32, .trust_in_bound = trust});
        const std::vector<Index>& last = result.chosen.back().blocks;
        INFO("q_len " << q_len << " needle " << needle << " trust " << trust);
        CHECK(std::find(last.begin(), last.end(), needle / 32) != last.end());
        // The needle's logit is 24 * 5 * 16 / 4; others reach 5 * 16 / 4 times the largest feature of their keys.
        CHECK(static_cast<double>(result.skipped.back()) <= 700 * std::exp(20 * largest - 480));
      }
    }
  }
}

TEST_CASE("of blocks that tie the nearer ones are chosen, besides the first") {
  Random random;
  Inputs<float> in({1, 40, 700, 1, 1, 16, 16}, random);
  for (std::size_t k = 16; k < in.key.size(); ++k) in.key[k] = in.key[k - 16];  // all keys alike
  const auto attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 0);
  for (const double trust : {1.0, 0.0}) {
    for (const auto& [query, blocks] :
         select(attention, in, TopBlocks{.keys = 80, .block = 20, .trust_in_bound = trust}).chosen) {
      const Index all = (query.keys.last + 19) / 20;
      CHECK(blocks == std::vector<Index>{0, all - 3, all - 2, all - 1});
    }
  }
}

TEMPLATE_TEST_CASE("each kv_head chooses for itself, as it does alone", "", float, double) {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  const TopBlocks policy{.keys = 96, .block = 16};
  for (const Index q_len : {1, 60}) {
    const Inputs<TestType> in({1, q_len, 700, 2, 2, 16, 16}, random);
    const auto both = select(attention, in, policy);
    for (std::size_t head = 0; head < 2; ++head) {
      Inputs<TestType> alone = in;
      alone.sizes.heads = alone.sizes.kv_heads = 1;
      for (auto* x : {&alone.query, &alone.key, &alone.value}) {
        for (std::size_t k = 0; k < x->size() / 2; ++k) (*x)[k] = (*x)[k / 16 * 32 + head * 16 + k % 16];
        x->resize(x->size() / 2);
      }
      const auto expected = select(attention, alone, policy);
      for (std::size_t k = 0; k < expected.outputs.out.size(); ++k) {
        REQUIRE(both.outputs.out[k / 16 * 32 + head * 16 + k % 16] == expected.outputs.out[k]);
      }
      for (std::size_t k = 0; k < expected.skipped.size(); ++k) {
        REQUIRE(both.skipped[2 * k + head] == expected.skipped[k]);
      }
    }
  }
}

TEMPLATE_TEST_CASE("choices and results have the same bits for any number of threads", "", float, double) {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  for (const Index q_len : {1, 900}) {
    const Inputs<TestType> in({2, q_len, 900, 4, 2, 16, 16}, random);
    const TopBlocks policy{.keys = 128, .block = 32, .query_block = 50};
    const auto expected = select(attention, in, policy);
    for (const int threads : {1, 2, 3, 7}) {
      Eigen::ThreadPool pool(threads);
      const auto actual = select(attention, in, policy, {}, Eigen::ThreadPoolDevice(&pool, threads));
      CHECK(same_bits(actual.outputs, expected.outputs));
      CHECK(same_bits(actual.skipped, expected.skipped));
    }
  }
}

TEST_CASE("choosing in a busy pool ends, with the same bits") {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 16);
  const TopBlocks policy{.keys = 64, .block = 16, .query_block = 40};
  const Inputs<float> in({2, 200, 700, 2, 1, 16, 16}, random);
  const auto expected = select(attention, in, policy);
  CHECK(wrong_in_busy_pools([&](const Eigen::ThreadPoolDevice& device) {
          const auto actual = select(attention, in, policy, {}, device);
          const auto same_choice = [](const dca::ChosenBlocks& a, const dca::ChosenBlocks& b) {
            return a.blocks == b.blocks && a.query.keys == b.query.keys;
          };
          return same_bits(actual.outputs, expected.outputs) && same_bits(actual.skipped, expected.skipped) &&
                 std::equal(actual.chosen.begin(), actual.chosen.end(), expected.chosen.begin(), expected.chosen.end(),
                            same_choice);
        }) == "");
}

TEST_CASE("a policy's exception on any thread leaves the call, and the next call is right") {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 16);
  const Inputs<float> in({2, 300, 700, 4, 2, 16, 16}, random);
  const auto expected = select(attention, in, EveryNth{3, 16});
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 4);
  dca::Workspace workspace;
  for (int call = 0; call < 20; ++call) {
    CHECK_THROWS_WITH(select(attention, in, EveryNth{0, 16}, {.workspace = &workspace}, device), "no step");
    CHECK(
        same_bits(select(attention, in, EveryNth{3, 16}, {.workspace = &workspace}, device).outputs, expected.outputs));
  }
}

TEMPLATE_TEST_CASE("a key that is NaN is visited, and its NaN arrives", "", float, double) {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  for (const Index q_len : {1, 30}) {
    Inputs<TestType> in({1, q_len, 700, 1, 1, 16, 16}, random);
    in.key[333 * 16 + 3] = std::numeric_limits<TestType>::quiet_NaN();
    const auto result = select(attention, in, TopBlocks{.keys = 96, .block = 16});
    CHECK(std::isnan(result.outputs.out.back()));
  }
}

TEST_CASE("when a policy throws, the call throws and writes nothing") {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 16);
  for (const Index q_len : {1, 300}) {
    const Inputs<float> in({1, q_len, 700, 2, 1, 16, 16}, random);
    const Operands<float> x = in.operands();
    Outputs<float> outputs(in), more(in);
    std::vector<dca::ChosenBlocks> chosen(1);
    const dca::CallOptions<float> options{.lse = outputs.lse_view(), .skipped = more.lse_view(), .chosen = &chosen};
    CHECK_THROWS_WITH(
        attention(Eigen::DefaultDevice{}, x.query, x.key, x.value, outputs.out_view(), options, EveryNth{0, 16}),
        contains("no step"));
    CHECK(same_bits(outputs, Outputs<float>(in)));
    CHECK(same_bits(more, Outputs<float>(in)));
    CHECK(chosen.size() == 1);
  }
}

TEST_CASE("a BlockSet holds only blocks that were added, and stays within its words") {
  std::vector<std::uint64_t> words(2, 0);
  dca::BlockSet set(words.data(), 16, {40, 1100});  // blocks 2 to 68
  for (const Index block : {-1000000, -1, 0, 1, 2, 63, 64, 68, 69, 128, 1000000}) set.add(block);
  set.add_keys({-100, 50});
  set.add_keys({1090, 1000000});
  for (const Index block : {2, 3, 63, 64, 68}) CHECK(set.contains(block));
  const Index least = std::numeric_limits<Index>::min(), most = std::numeric_limits<Index>::max();
  for (const Index block : {least, Index{-1}, Index{0}, Index{1}, Index{4}, Index{69}, Index{128}, most}) {
    CHECK_FALSE(set.contains(block));
  }
  CHECK(set.first_run({-5, 45}) == dca::KeyRange{40, 45});
  CHECK(set.first_run({70, 5000}) == dca::KeyRange{1008, 1040});
  CHECK(set.first_run({1200, 5000}).empty());
  CHECK(dca::BlockSet(nullptr, 16, {0, 0}).first_run({0, 100}).empty());

  CHECK_THROWS_WITH(dca::BlockSet(words.data(), 0, {0, 64}), contains("dca: block_size: 0; must be at least 1"));
  CHECK_THROWS_WITH(dca::BlockSet(words.data(), -16, {0, 64}), contains("dca: block_size: -16"));
  CHECK_THROWS_WITH(dca::BlockSet::words(64, 0), contains("dca: block_size: 0"));
  CHECK_THROWS_WITH(dca::BlockSet(words.data(), 16, {-16, 64}), contains("dca: keys: [-16, 64)"));
  CHECK_THROWS_WITH(dca::BlockSet(nullptr, 16, {0, 64}), contains("dca: keys: [0, 64)"));
  static_assert(dca::BlockSet::words(1024, 16) == 1 && dca::BlockSet::words(1025, 16) == 2);
}

TEMPLATE_TEST_CASE("a query that is not finite leaves its neighbours their choice", "", float, double) {
  constexpr TestType nan = std::numeric_limits<TestType>::quiet_NaN(),
                     infinity = std::numeric_limits<TestType>::infinity();
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  const TopBlocks policy{.keys = 96, .block = 16, .query_block = 64};
  for (const Index q_len : {6, 130}) {
    Random random(static_cast<std::uint64_t>(q_len));
    Inputs<TestType> in({1, q_len, 700, 2, 1, 16, 16}, random, 2.0);
    const Index row = 2 * (q_len / 2) + 1;  // of one head
    const auto features = in.query.begin() + row * 16;
    std::fill_n(features, 16, TestType{0});
    const auto expected = select(attention, in, policy);
    for (const TestType value : {nan, infinity, -infinity}) {
      for (const Index count : {1, 16}) {
        std::fill_n(features, 16, TestType{1});
        std::fill_n(features, count, value);
        const auto actual = select(attention, in, policy);
        INFO("q_len " << q_len << " value " << value << " in features " << count);
        REQUIRE(actual.chosen.size() == expected.chosen.size());
        for (std::size_t k = 0; k < actual.chosen.size(); ++k) {
          CHECK(actual.chosen[k].blocks == expected.chosen[k].blocks);
        }
        Outputs<TestType> others = actual.outputs, rest = expected.outputs;
        CHECK(std::all_of(others.out.begin() + row * 16, others.out.begin() + (row + 1) * 16,
                          [](TestType x) { return std::isnan(x); }));
        CHECK(std::isnan(others.lse[static_cast<std::size_t>(row)]));
        for (Outputs<TestType>* outputs : {&others, &rest}) {
          std::fill_n(outputs->out.begin() + row * 16, 16, TestType{0});
          outputs->lse[static_cast<std::size_t>(row)] = TestType{0};
        }
        CHECK(same_bits(others, rest));
      }
    }
  }
}

TEMPLATE_TEST_CASE("a query whose bounds overflow leaves its neighbours their choice", "", float, double) {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 0);
  Inputs<TestType> in({1, 60, 700, 1, 1, 16, 16}, random, 0.1);
  for (Index d = 0; d < 16; ++d) {
    in.key[static_cast<std::size_t>(333 * 16 + d)] = d % 2 == 0 ? 24 : -24;
    for (Index row = 0; row < 60; ++row) in.query[static_cast<std::size_t>(row * 16 + d)] = d % 2 == 0 ? 5 : -5;
    in.query[static_cast<std::size_t>(40 * 16 + d)] = std::numeric_limits<TestType>::max() / 2;
  }
  for (const auto& [query, blocks] : select(attention, in, TopBlocks{.keys = 96, .block = 32}).chosen) {
    CHECK(std::find(blocks.begin(), blocks.end(), 333 / 32) != blocks.end());
  }
}

TEST_CASE("what cannot be a policy's numbers is refused by name, with nothing written") {
  Random random;
  const Inputs<float> in({1, 20, 300, 1, 1, 16, 16}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 16);
  CHECK_THROWS_WITH(select(attention, in, TopBlocks{.keys = -8}), contains("TopBlocks keys: -8"));
  CHECK_THROWS_WITH(select(attention, in, FirstAndRecent{.first = -1, .recent = 8}), contains("first: -1"));
  CHECK_THROWS_WITH(select(attention, in, FirstAndRecent{.recent = -8}), contains("recent: -8"));
  CHECK_THROWS_WITH(select(attention, in, TopBlocks{.keys = 8, .block = 0}), contains("selection block_size: 0"));
  CHECK_THROWS_WITH(select(attention, in, TopBlocks{.keys = 8, .block = -5}), contains("selection block_size: -5"));
  CHECK_THROWS_WITH(select(attention, in, TopBlocks{.keys = 8, .query_block = 0}), contains("selection queries: 0"));
  CHECK_THROWS_WITH(select(attention, in, TopBlocks{.keys = 8, .trust_in_bound = 1.5}), contains("selection optimism"));
  CHECK_THROWS_WITH(select(attention, in, FirstAndRecent{.recent = 8, .block = 0}),
                    contains("selection block_size: 0"));

  Outputs<float> outputs(in);
  std::vector<float> skipped(20);
  dca::CallOptions<float> options{.skipped = dca::contiguous(skipped.data(), {1, 19, 1})};
  const Operands<float> x = in.operands();
  const auto call = [&] {
    attention(Eigen::DefaultDevice{}, x.query, x.key, x.value, outputs.out_view(), options, TopBlocks{.keys = 8});
  };
  CHECK_THROWS_WITH(call(), contains("skipped: length 19"));
  options.skipped = outputs.lse_view();
  options.lse = outputs.lse_view();
  CHECK_THROWS_WITH(call(), contains("skipped: shares memory with lse"));
  CHECK(std::all_of(outputs.out.begin(), outputs.out.end(), [](float value) { return std::isnan(value); }));
}
