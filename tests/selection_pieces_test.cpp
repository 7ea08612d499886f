// Policies where few query rows share their threads' work by cutting the keys into pieces: up to 24 rows of a kv_head
// are streamed, up to 64 packed, and more are cut along the rows.
#include "support/catch.hpp"
#include "support/selecting.hpp"

using namespace dca_test;
using dca::FirstAndRecent;
using dca::TopBlocks;

namespace {

constexpr dca::ChunkConfig chunks{700, 150};
constexpr Index block = 37;  // several in a tile of keys, and none that ends where a tile does

/// Queries of a call and heads of a kv_head: rows are their product.
struct Rows {
  Index q_len, group;
};
constexpr Rows few_and_more[] = {{17, 1}, {8, 3}, {25, 1}, {5, 5}, {40, 1}, {20, 2}, {64, 1}, {2, 32}, {13, 5}};

/// Calls f with a problem of each number of rows and of keys, from two pieces of keys to five.
template <class T, class F>
void for_each_problem(Index kv_heads, const F& f) {
  for (const auto& [q_len, group] : few_and_more) {
    for (const Index kv_len : {1500, 3000, 5000}) {
      Random random(static_cast<std::uint64_t>(kv_len + q_len));
      INFO("q_len " << q_len << " group " << group << " kv_len " << kv_len);
      f(Inputs<T>({1, q_len, kv_len, kv_heads * group, kv_heads, 20, 12}, random, 2.0));
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("rows that share out their keys in pieces visit what they chose, as the definition says", "", float,
                   double) {
  for_each_problem<TestType>(1, [&](const Inputs<TestType>& in) {
    // Blocks of 10 queries: neighbours in a piece visit different keys.
    CHECK(check_chosen(in, chunks, TopBlocks{.keys = 256, .block = block, .query_block = 10}) == "");
    CHECK(check_chosen(in, chunks, FirstAndRecent{.first = 128, .recent = 200, .block = block}) == "");
  });
}

TEMPLATE_TEST_CASE("rows that share out all their keys in pieces have the bits of the exact result", "", float,
                   double) {
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  for_each_problem<TestType>(2, [&](const Inputs<TestType>& in) {
    const auto exact = run(attention, in);
    const auto most = select(attention, in, TopBlocks{.keys = in.sizes.kv_len, .block = block, .query_block = 10});
    CHECK(same_bits(most.outputs, exact));
    CHECK(std::all_of(most.skipped.begin(), most.skipped.end(), [](TestType x) { return x == 0; }));
    CHECK(same_bits(
        select(attention, in, FirstAndRecent{.first = 0, .recent = in.sizes.kv_len, .block = block}).outputs, exact));
  });
}

TEMPLATE_TEST_CASE("rows that choose and share out their keys in pieces have the same bits on 1 and 4 threads", "",
                   float, double) {
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  Eigen::ThreadPool pool(4);
  const TopBlocks policy{.keys = 256, .block = block, .query_block = 10};
  for_each_problem<TestType>(2, [&](const Inputs<TestType>& in) {
    const auto alone = select(attention, in, policy);
    const auto threaded = select(attention, in, policy, {}, Eigen::ThreadPoolDevice(&pool, 4));
    CHECK(same_bits(threaded.outputs, alone.outputs));
    CHECK(same_bits(threaded.skipped, alone.skipped));
  });
}
