// Policies on caches: summaries that follow whatever happens to the tokens.
#include "support/catch.hpp"
#include "support/selecting.hpp"

using namespace dca_test;
using dca::TopBlocks;

namespace {

constexpr dca::ChunkConfig chunks{90, 20};
constexpr Index block = 24;
constexpr TopBlocks policy{.keys = 96, .block = block};

template <class T>
dca::DualChunkAttention<T> make_attention() {
  return make_chunked<dca::DualChunkAttention<T>>(chunks, 16);
}

dca::CacheShape shape_of(const Sizes& sizes) {
  dca::CacheShape shape = cache_shape(sizes);
  shape.summary_block = block;
  return shape;
}

template <class T>
bool same_choices(const Selected<T>& a, const Selected<T>& b) {
  if (a.chosen.size() != b.chosen.size()) return false;
  for (std::size_t k = 0; k < a.chosen.size(); ++k) {
    if (a.chosen[k].blocks != b.chosen[k].blocks) return false;
  }
  return true;
}

template <class E, class T>
auto summarised_cache(const dca::DualChunkAttention<T>& attention, const Inputs<T>& in) {
  auto cache = attention.template make_cache<E>(shape_of(in.sizes), in.sizes.batch, {.tokens = in.sizes.kv_len});
  cache.append(Eigen::DefaultDevice{}, in.operands().key, in.operands().value);
  return cache;
}

/// What one query after the first `length` tokens of batch entry 0 gets from a fresh cache, or from a sequence.
Selected<float> fresh_answer(const Inputs<float>& in, Index length) {
  const auto part = entry_of(in, 0, 1, length);
  return select_on(make_attention<float>(), part, summarised_cache<float>(make_attention<float>(), part).view(),
                   policy);
}
template <class Cache>
Selected<float> answer(const Cache& cache, Index sequence, const Inputs<float>& in, Index length) {
  const std::vector<Index> only{sequence};
  return select_on(make_attention<float>(), entry_of(in, 0, 1, length), cache.view(only), policy);
}

}  // namespace

TEMPLATE_TEST_CASE("caches choose as tensors do, and compute as the definition says", "", float, double) {
  Random random;
  const Ropes ropes = make_ropes(16);
  const auto attention = make_attention<TestType>();
  // 42 and 24 rows of 2500 keys share them out in pieces.
  for (const auto& [q_len, kv_len] : {std::pair<Index, Index>{1, 700}, {7, 700}, {100, 700}, {14, 2500}, {8, 2500}}) {
    const Inputs<TestType> in({1, q_len, kv_len, 3, 1, 16, 16}, random);
    const auto dense = select(attention, in, policy);
    const auto cached = select_on(attention, in, summarised_cache<TestType>(attention, in).view(), policy);
    INFO("q_len " << q_len << " kv_len " << kv_len);
    CHECK(same_choices(cached, dense));
    const auto positions = chosen_positions(chunks, cached.chosen, block);
    CHECK(difference(cached.outputs, reference_of(in, positions, ropes.reference, {.q_offset = kv_len - q_len})) == "");
  }
}

TEST_CASE("with every block chosen caches give the bits of the exact result") {
  Random random;
  const auto attention = make_attention<float>();
  for (const Index q_len : {1, 7, 100}) {
    const Inputs<float> in({2, q_len, 700, 4, 2, 16, 16}, random);
    const auto cache = summarised_cache<float>(attention, in);
    CHECK(same_bits(select_on(attention, in, cache.view(), TopBlocks{.keys = 700, .block = block}).outputs,
                    run_on(attention, in, filled_cache<float>(attention, in).view())));
  }
}

TEST_CASE("blocks of any size choose and compute as the contiguous cache, bit for bit") {
  Random random;
  const auto attention = make_attention<float>();
  for (const Index q_len : {1, 60}) {
    const Inputs<float> in({1, q_len, 500, 2, 1, 16, 16}, random);
    const auto expected = select_on(attention, in, summarised_cache<float>(attention, in).view(), policy);
    for (const Index block_size : {1, 7, 8, 24, 31, 48, 60, 1000}) {
      auto cache = attention.make_paged_cache<float>(shape_of(in.sizes), 500, block_size);
      const std::vector<Index> only{cache.add()};
      for (Index first = 0; first < 500;) {
        const Index count = std::min(500 - first, random.integer(1, 60));
        append_tokens(cache, only[0], in, 0, first, count);
        first += count;
      }
      INFO("q_len " << q_len << " block_size " << block_size);
      const auto actual = select_on(attention, in, cache.view(only), policy);
      CHECK(same_choices(actual, expected));
      // Means of pieces are rounded differently; choices and results are not.
      CHECK(same_bits(actual.outputs, expected.outputs));
    }
  }
}

TEST_CASE("forks, truncations and appends leave the choices of a fresh cache") {
  Random random;
  const Inputs<float> in({1, 1, 700, 2, 1, 16, 16}, random), other({1, 1, 700, 2, 1, 16, 16}, random);
  for (const Index block_size : {5, 16, 24, 100}) {
    auto cache = make_attention<float>().make_paged_cache<float>(shape_of(in.sizes), 2000 / block_size * 5, block_size);
    const Index origin = cache.add();
    append_tokens(cache, origin, in, 0, 0, 400);
    for (int trial = 0; trial < 6; ++trial) {
      // A fork goes another way for a while, and back.
      const Index fork = cache.fork(origin), kept = random.integer(1, 400);
      cache.truncate(fork, kept);
      append_tokens(cache, fork, other, 0, 0, random.integer(1, 300));
      cache.truncate(fork, kept);
      const Index back = random.integer(kept, 700);
      if (back > kept) append_tokens(cache, fork, in, 0, kept, back - kept);
      INFO("block_size " << block_size << " kept " << kept << " back " << back);
      CHECK(same_choices(answer(cache, fork, in, back), fresh_answer(in, back)));
      CHECK(same_bits(answer(cache, fork, in, back).outputs, fresh_answer(in, back).outputs));
      CHECK(same_bits(answer(cache, origin, in, 400).outputs, fresh_answer(in, 400).outputs));
      cache.remove(fork);
    }
  }
}

TEST_CASE("a cache that grows, or is copied from, keeps its summaries") {
  Random random;
  const Inputs<float> in({1, 1, 700, 2, 1, 16, 16}, random);
  auto cache = make_attention<float>().make_cache<float>(shape_of(in.sizes), 2, {.tokens = 50, .grows = true});
  for (Index first = 0; first < 700; first += 70) append_tokens(cache, 0, in, 0, first, 70);
  CHECK(same_bits(answer(cache, 0, in, 700).outputs, fresh_answer(in, 700).outputs));
  cache.copy_prefix(0, 1, 555);
  CHECK(same_bits(answer(cache, 1, in, 555).outputs, fresh_answer(in, 555).outputs));
  append_tokens(cache, 1, in, 0, 555, 100);
  CHECK(same_bits(answer(cache, 1, in, 655).outputs, fresh_answer(in, 655).outputs));
}

namespace {

using Pool = dca::BlockPool<float>;

/// Tokens [first, first + count) of `in` after `first` tokens in `blocks`.
void append_to(Pool& pool, const std::vector<Index>& blocks, const Inputs<float>& in, Index first, Index count) {
  const std::vector<dca::BlockTable> tables{{blocks, first}};
  pool.append(Eigen::DefaultDevice{}, tables, in.operands().key.slice(1, first, count),
              in.operands().value.slice(1, first, count));
}

std::vector<Index> take(Pool& pool, Index count) {
  std::vector<Index> blocks;
  for (Index b = 0; b < count; ++b) blocks.push_back(pool.take());
  return blocks;
}

}  // namespace

TEST_CASE("blocks copied between pools of any block sizes keep their summaries") {
  Random random;
  const auto attention = make_attention<float>();
  const Inputs<float> in({1, 1, 400, 2, 1, 16, 16}, random);
  for (const auto& [from_size, to_size] : {std::pair<Index, Index>{16, 16}, {20, 20}, {8, 20}, {20, 8}, {100, 37}}) {
    Pool from(attention.placed_keys(), shape_of(in.sizes), 80, from_size);
    Pool to(attention.placed_keys(), shape_of(in.sizes), 80, to_size);
    const std::vector<Index> theirs = take(from, 400 / from_size), mine = take(to, 400 / to_size + 1);
    append_to(from, theirs, in, 0, 400 / from_size * from_size);
    // As many blocks as stand at the same places, then the rest.
    const Index common = from_size == to_size ? 400 / to_size : 1, size = std::min(from_size, to_size);
    for (Index b = 0; b < common; ++b) {
      const auto k = static_cast<std::size_t>(b);
      to.copy_tokens_from(from, theirs[k], mine[k], size);
    }
    const Index copied = common * size;
    if (copied < 400) append_to(to, mine, in, copied, 400 - copied);
    const std::vector<dca::BlockTable> tables{{mine, 400}};
    const auto actual = select_on(attention, in, dca::PagedKeyValues<Pool>(to, tables), policy);
    INFO("from " << from_size << " to " << to_size);
    CHECK(same_choices(actual, fresh_answer(in, 400)));
    CHECK(same_bits(actual.outputs, fresh_answer(in, 400).outputs));
    CHECK(actual.skipped == fresh_answer(in, 400).skipped);
  }
}

TEST_CASE("a block whose summaries are those of another place is refused") {
  Random random;
  const auto attention = make_attention<float>();
  const Inputs<float> in({1, 1, 200, 2, 1, 16, 16}, random);
  // Blocks of 20 tokens begin 0, 20, 16, 12, 8, 4 tokens after a multiple of 24; blocks of 8 are cut alike.
  for (const Index block_size : {20, 8}) {
    Pool pool(attention.placed_keys(), shape_of(in.sizes), 40, block_size);
    const std::vector<Index> blocks = take(pool, 6);
    append_to(pool, blocks, in, 0, 6 * block_size);
    std::vector<Index> moved = blocks;
    std::swap(moved[1], moved[2]);
    const Index copy = pool.take();
    pool.copy_tokens(blocks[2], copy, block_size);
    std::vector<Index> copied = blocks;
    copied[1] = copy;
    copied[5] = pool.take();
    pool.copy_tokens(blocks[4], copied[5], block_size - 1);
    const auto view = [&](const std::vector<Index>& of) {
      const std::vector<dca::BlockTable> tables{{of, 2 * block_size}};
      return dca::PagedKeyValues<Pool>(pool, tables).sequences();
    };
    INFO("block_size " << block_size);
    CHECK(view(blocks) == 1);
    if (block_size == 8) {
      CHECK(view(moved) == 1);
      CHECK(view(copied) == 1);
      append_to(pool, copied, in, 6 * block_size - 1, 1);
    } else {
      CHECK_THROWS_WITH(view(moved), contains("dca: block_table: block 2 as number 1; its summaries"));
      CHECK_THROWS_WITH(view(copied), contains("dca: block_table: block 6 as number 1; its summaries"));
      CHECK_THROWS_WITH(append_to(pool, copied, in, 6 * block_size - 1, 1), contains("block 7 as number 5"));
    }
    // A block that is taken again has no place yet.
    pool.give_back(blocks[5]);
    const Index again = pool.take();
    REQUIRE(again == blocks[5]);
    std::vector<Index> shorter{blocks[0], again};
    CHECK(view(shorter) == 1);
    append_to(pool, shorter, in, block_size, block_size);
    CHECK(view(shorter) == 1);
  }
}

TEST_CASE("a sequence chooses the same in any batch, on any number of threads") {
  Random random;
  const auto attention = make_attention<float>();
  const Inputs<float> in({3, 1, 600, 4, 2, 16, 16}, random);
  const auto cache = summarised_cache<float>(attention, in);
  const auto all = select_on(attention, in, cache.view(), policy);
  Eigen::ThreadPool pool(3);
  CHECK(same_bits(select_on(attention, in, cache.view(), policy, {}, Eigen::ThreadPoolDevice(&pool, 3)).outputs,
                  all.outputs));
  for (Index b = 0; b < 3; ++b) {
    const std::vector<Index> only{b};
    const auto alone = select_on(attention, entry_of(in, b, 1, 600), cache.view(only), policy);
    CHECK(std::equal(alone.outputs.out.begin(), alone.outputs.out.end(), all.outputs.out.begin() + b * 64));
    CHECK(std::equal(alone.skipped.begin(), alone.skipped.end(), all.skipped.begin() + b * 4));
  }
}

TEST_CASE("speculative tokens on both sides of a chunk's edge visit what any of them chose") {
  Random random;
  const Ropes ropes = make_ropes(16);
  const auto attention = make_attention<float>();
  const Inputs<float> in({1, 6, 563, 2, 1, 16, 16}, random);  // 560 is a chunk's first token
  const auto result = select_on(attention, in, summarised_cache<float>(attention, in).view(), policy);
  CHECK(result.chosen.size() == 1);
  const auto positions = chosen_positions(chunks, result.chosen, block);
  CHECK(difference(result.outputs, reference_of(in, positions, ropes.reference, {.q_offset = 557})) == "");
}

TEST_CASE("a cache without summaries, or of other blocks, is refused where they are needed") {
  Random random;
  const auto attention = make_attention<float>();
  const Inputs<float> in({1, 1, 300, 2, 1, 16, 16}, random);
  const auto plain = filled_cache<float>(attention, in);
  const auto cache = summarised_cache<float>(attention, in);
  CHECK_THROWS_WITH(select_on(attention, in, plain.view(), policy), contains("cache: summary_block 0"));
  CHECK_THROWS_WITH(select_on(attention, in, cache.view(), TopBlocks{.keys = 96, .block = 25}),
                    contains("cache: summary_block 24"));
  CHECK_THROWS_WITH(attention.make_cache<float>({1, 8, 8, -1}, 1, {.tokens = 8}), contains("summary_block: -1"));
  // By place alone nothing is needed.
  Outputs<float> outputs(in);
  attention(Eigen::DefaultDevice{}, in.operands().query, plain.view(), outputs.out_view(), {},
            dca::FirstAndRecent{.recent = 20});
  CHECK(!std::isnan(outputs.out[0]));
}

namespace {

/// A user's own source: what a cache holds, without its summaries.
template <class View>
struct WithoutSummaries {
  using Key = typename View::Key;
  using Value = typename View::Value;
  using KeyPlacement = typename View::KeyPlacement;
  View view;
  dca::RowRun<Key> keys(Index s, Index head, Index first) const { return view.keys(s, head, first); }
  dca::RowRun<Value> values(Index s, Index head, Index first) const { return view.values(s, head, first); }
  Index sequences() const { return view.sequences(); }
  Index length(Index s) const { return view.length(s); }
  Index kv_heads() const { return view.kv_heads(); }
  Index head_dim() const { return view.head_dim(); }
  Index v_head_dim() const { return view.v_head_dim(); }
  const dca::PlacedKeys<KeyPlacement>& placement() const { return view.placement(); }
};

}  // namespace

TEST_CASE("of a user's source of placed keys that keeps no summaries a call makes its own") {
  Random random;
  const auto attention = make_attention<float>();
  const Inputs<float> in({1, 7, 700, 2, 1, 16, 16}, random);
  const auto cache = summarised_cache<float>(attention, in);
  const WithoutSummaries<std::decay_t<decltype(cache.view())>> source{cache.view()};
  const auto actual = select_on(attention, in, source, policy),
             expected = select_on(attention, in, cache.view(), policy);
  CHECK(same_choices(actual, expected));
  CHECK(same_bits(actual.outputs, expected.outputs));
}

TEST_CASE("summaries bound the keys as they are stored") {
  Random random;
  const auto attention = make_attention<float>();
  const Inputs<float> in({1, 1, 200, 2, 1, 32, 32}, random);
  const auto check = [&](const auto& cache) {
    const auto view = cache.view();
    std::vector<float> summary(3 * 32), row(32);
    for (Index window = 0; window * block < 200; ++window) {
      view.read_summary(0, 0, window, summary.data());
      for (Index key = window * block; key < std::min<Index>(200, (window + 1) * block); ++key) {
        using Key = typename std::decay_t<decltype(view)>::Key;
        dca::RowStorage<Key>::decode(view.keys(0, 0, key).row(0), 32, row.data());
        for (std::size_t d = 0; d < 32; ++d) {
          REQUIRE(summary[32 + d] <= row[d]);
          REQUIRE(row[d] <= summary[64 + d]);
        }
      }
    }
  };
  check(summarised_cache<float>(attention, in));
  check(summarised_cache<Eigen::half>(attention, in));
  check(summarised_cache<dca::Int8>(attention, in));
  check(summarised_cache<dca::Int4>(attention, in));
}

TEST_CASE("a key that is NaN is in the bounds of its block, and in no others") {
  Random random;
  Inputs<float> in({1, 1, 100, 1, 1, 16, 16}, random);
  in.key[60 * 16 + 3] = std::numeric_limits<float>::quiet_NaN();
  const auto attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 0);
  const auto check = [&](const auto& view) {
    for (Index window = 0; window * block < 100; ++window) {
      std::vector<float> summary(3 * 16);
      view.read_summary(0, 0, window, summary.data());
      for (std::size_t d = 0; d < 16; ++d) {
        const bool holds_it = window == 60 / block && d == 3;
        REQUIRE(std::isnan(summary[d]) == holds_it);
        REQUIRE(std::isnan(summary[32 + d]) == holds_it);
      }
    }
  };
  check(summarised_cache<float>(attention, in).view());
  const std::vector<Index> only{0};
  auto pool = attention.make_paged_cache<float>(shape_of(in.sizes), 100, 7);  // a window in pieces
  append_tokens(pool, pool.add(), in, 0, 0, 100);
  check(pool.view(only));
}
