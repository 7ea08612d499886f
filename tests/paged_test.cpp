// Blocks of a pool: where tokens lie must not matter, and every block is accounted for.
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;
using Pool = dca::BlockPool<float>;

namespace {

constexpr dca::ChunkConfig chunks{40, 12};

template <class T>
dca::DualChunkAttention<T> make_attention() {
  return make_chunked<dca::DualChunkAttention<T>>(chunks, 16);
}

/// A paged cache with batch entry b in sequence b, filled piece by piece and in turns, so that the blocks of the
/// sequences lie among each other.
template <class T>
auto filled_paged_cache(const dca::DualChunkAttention<T>& attention, const Inputs<T>& in, Index block_size,
                        Random& random) {
  const Index blocks = in.sizes.batch * ((in.sizes.kv_len + block_size - 1) / block_size);
  auto cache = attention.template make_paged_cache<T>(cache_shape(in.sizes), blocks, block_size);
  for (Index b = 0; b < in.sizes.batch; ++b) CHECK(cache.add() == b);
  for (Index first = 0; first < in.sizes.kv_len;) {
    const Index count = std::min(in.sizes.kv_len - first, random.integer(1, 50));
    for (Index b = 0; b < in.sizes.batch; ++b) append_tokens(cache, b, in, b, first, count);
    first += count;
  }
  CHECK(cache.pool().free_blocks() == 0);
  return cache;
}

template <class T>
std::vector<Index> first_numbers(T count) {
  std::vector<Index> numbers;
  for (Index k = 0; k < static_cast<Index>(count); ++k) numbers.push_back(k);
  return numbers;
}

/// Whether a sequence of a cache gives the bits of the first tokens of `in` in a cache of its own.
template <class Cache>
bool holds(const Cache& cache, Index sequence, const Inputs<float>& in, Index b, Index length) {
  const auto attention = make_attention<float>();
  const auto part = entry_of(in, b, 1, length);
  const std::vector<Index> only{sequence};
  return cache.length(sequence) == length &&
         same_bits(run_on(attention, part, cache.view(only)),
                   run_on(attention, part, filled_cache<float>(attention, part).view()));
}

/// Tables over blocks of a user's own pool.
struct UserTables {
  std::vector<std::vector<Index>> blocks;
  std::vector<dca::BlockTable> tables;

  void add(std::vector<Index> of_sequence) { blocks.push_back(std::move(of_sequence)); }
  std::span<const dca::BlockTable> with_lengths(const std::vector<Index>& lengths) {
    tables.clear();
    for (std::size_t s = 0; s < blocks.size(); ++s) tables.push_back({blocks[s], lengths[s]});
    return tables;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("any block size gives the bits of the contiguous cache", "", float, double) {
  Random random;
  const auto attention = make_attention<TestType>();
  for (const Index q_len : {1, 3, 50}) {
    const Inputs<TestType> in({2, q_len, 210, 4, 2, 16, 24}, random);
    const auto expected = run_on(attention, in, filled_cache<TestType>(attention, in).view());
    CHECK(difference(expected, dual_chunk_reference(in, chunks, make_ropes(16).reference)) == "");
    for (const Index block_size : {1, 7, 28, 40, 128, 1000}) {  // 28 is chunk_len
      INFO("q_len " << q_len << " block_size " << block_size);
      const auto cache = filled_paged_cache(attention, in, block_size, random);
      CHECK(same_bits(run_on(attention, in, cache.view(first_numbers(in.sizes.batch))), expected));
    }
  }
}

TEST_CASE("a fork shares its origin's blocks and copies one when it writes into it") {
  Random random;
  const Inputs<float> in({2, 1, 60, 2, 1, 16, 16}, random);
  auto cache = make_attention<float>().make_paged_cache<float>(cache_shape(in.sizes), 12, 8);
  const Index origin = cache.add();
  append_tokens(cache, origin, in, 0, 0, 20);  // two whole blocks and one begun
  CHECK(cache.pool().free_blocks() == 9);
  const Index fork = cache.fork(origin);
  CHECK(cache.pool().free_blocks() == 9);
  CHECK(holds(cache, fork, in, 0, 20));

  append_tokens(cache, fork, in, 0, 20, 1);  // the begun block is copied
  CHECK(cache.pool().free_blocks() == 8);
  append_tokens(cache, origin, in, 1, 20, 4);  // and is the origin's own again
  CHECK(cache.pool().free_blocks() == 8);
  append_tokens(cache, fork, in, 0, 21, 30);
  CHECK(holds(cache, fork, in, 0, 51));

  cache.truncate(origin, 20);
  append_tokens(cache, origin, in, 0, 20, 10);
  CHECK(holds(cache, origin, in, 0, 30));
  CHECK(holds(cache, fork, in, 0, 51));
}

TEST_CASE("a fork at the edge of a block copies nothing") {
  Random random;
  const Inputs<float> in({1, 1, 32, 2, 1, 16, 16}, random);
  auto cache = make_attention<float>().make_paged_cache<float>(cache_shape(in.sizes), 4, 8);
  const Index origin = cache.add();
  append_tokens(cache, origin, in, 0, 0, 16);
  const Index fork = cache.fork(origin);
  append_tokens(cache, origin, in, 0, 16, 8);
  append_tokens(cache, fork, in, 0, 16, 8);
  CHECK(cache.pool().free_blocks() == 0);
  CHECK(cache.pool().users(0) == 2);
  CHECK(cache.pool().users(2) == 1);
  CHECK(holds(cache, origin, in, 0, 24));
  CHECK(holds(cache, fork, in, 0, 24));
}

TEST_CASE("a fork that is cut back into shared blocks writes into a copy") {
  Random random;
  const Inputs<float> in({2, 1, 40, 2, 1, 16, 16}, random);
  auto cache = make_attention<float>().make_paged_cache<float>(cache_shape(in.sizes), 8, 8);
  const Index origin = cache.add();
  append_tokens(cache, origin, in, 0, 0, 30);
  const Index fork = cache.fork(origin);
  cache.truncate(fork, 11);
  append_tokens(cache, fork, in, 0, 11, 3);
  CHECK(cache.pool().free_blocks() == 3);  // block 0 shared, blocks 1 to 3 the origin's, one the fork's
  append_tokens(cache, fork, in, 1, 14, 10);
  CHECK(holds(cache, origin, in, 0, 30));
  cache.truncate(fork, 14);
  CHECK(holds(cache, fork, in, 0, 14));
}

TEST_CASE("truncation and removal give blocks back, and numbers of removed sequences are used again") {
  Random random;
  const Inputs<float> in({1, 1, 40, 2, 1, 16, 16}, random);
  auto cache = make_attention<float>().make_paged_cache<float>(cache_shape(in.sizes), 10, 4);
  const Index first = cache.add(), second = cache.add();
  append_tokens(cache, first, in, 0, 0, 24);
  append_tokens(cache, second, in, 0, 0, 16);
  CHECK(cache.pool().free_blocks() == 0);
  for (const auto& [length, free] : {std::pair<Index, Index>{21, 0}, {20, 1}, {9, 3}, {8, 4}, {1, 5}, {0, 6}}) {
    cache.truncate(first, length);
    CHECK(cache.pool().free_blocks() == free);
  }
  CHECK(holds(cache, second, in, 0, 16));
  cache.remove(second);
  CHECK(cache.pool().free_blocks() == 10);
  CHECK(cache.add() == second);
  append_tokens(cache, second, in, 0, 0, 40);
  CHECK(cache.pool().free_blocks() == 0);
  CHECK(holds(cache, second, in, 0, 40));
}

TEST_CASE("a block that forks share lives as long as one of them") {
  Random random;
  const Inputs<float> in({1, 1, 20, 2, 1, 16, 16}, random);
  auto cache = make_attention<float>().make_paged_cache<float>(cache_shape(in.sizes), 5, 4);
  const Index origin = cache.add();
  append_tokens(cache, origin, in, 0, 0, 18);
  const Index fork = cache.fork(origin), other = cache.fork(fork);
  cache.remove(origin);
  CHECK(cache.pool().free_blocks() == 0);
  CHECK(holds(cache, other, in, 0, 18));
  cache.remove(fork);
  CHECK(cache.pool().users(0) == 1);
  append_tokens(cache, other, in, 0, 18, 2);
  CHECK(holds(cache, other, in, 0, 20));
  cache.remove(other);
  CHECK(cache.pool().free_blocks() == 5);
}

TEST_CASE("tables of a user's own share a prefix and serve in any order") {
  Random random;
  const Inputs<float> in({2, 1, 30, 4, 2, 16, 16}, random);
  const auto attention = make_attention<float>();
  Pool pool(attention.placed_keys(), cache_shape(in.sizes), 9, 8);
  UserTables user;
  const Index shared = pool.take();
  user.add({shared, pool.take(), pool.take(), pool.take()});
  pool.share(shared);
  user.add({shared, pool.take(), pool.take(), pool.take()});

  // The prefix through one table alone, the rest of both at once.
  const Operands<float> all = in.operands();
  pool.give_back(shared);
  pool.append(Eigen::DefaultDevice{}, user.with_lengths({0, 0}).first(1), all.key.slice(1, 0, 8).entry(0),
              all.value.slice(1, 0, 8).entry(0));
  pool.share(shared);
  pool.append(Eigen::DefaultDevice{}, user.with_lengths({8, 8}), all.key.slice(1, 8, 22), all.value.slice(1, 8, 22));

  const auto tables = user.with_lengths({30, 30});
  Inputs<float> joined = in;  // both start with the prefix of the first
  std::copy_n(in.key.begin(), 8 * 2 * 16, joined.key.begin() + 30 * 2 * 16);
  std::copy_n(in.value.begin(), 8 * 2 * 16, joined.value.begin() + 30 * 2 * 16);
  const auto expected = run_on(attention, joined, filled_cache<float>(attention, joined).view());
  CHECK(same_bits(run_on(attention, joined, dca::PagedKeyValues<Pool>(pool, tables)), expected));

  const std::vector<Index> order{1, 0};
  Inputs<float> swapped = joined;
  std::rotate(swapped.query.begin(), swapped.query.begin() + 4 * 16, swapped.query.end());
  const auto actual = run_on(attention, swapped, dca::PagedKeyValues<Pool>(pool, tables, order));
  CHECK(std::equal(actual.out.begin(), actual.out.begin() + 64, expected.out.begin() + 64));
  CHECK(std::equal(actual.out.begin() + 64, actual.out.end(), expected.out.begin()));
}

TEST_CASE("copied blocks are the blocks that they were copied from") {
  Random random;
  const Inputs<float> in({1, 1, 16, 2, 1, 16, 16}, random);
  const auto attention = make_attention<float>();
  Pool pool(attention.placed_keys(), cache_shape(in.sizes), 4, 8);
  UserTables user;
  user.add({pool.take(), pool.take()});
  pool.append(Eigen::DefaultDevice{}, user.with_lengths({0}), in.operands().key, in.operands().value);
  UserTables copy;
  copy.add({pool.take(), pool.take()});
  for (std::size_t b = 0; b < 2; ++b) pool.copy_tokens(user.blocks[0][b], copy.blocks[0][b], 8);
  CHECK(same_bits(run_on(attention, in, dca::PagedKeyValues<Pool>(pool, copy.with_lengths({16}))),
                  run_on(attention, in, dca::PagedKeyValues<Pool>(pool, user.with_lengths({16})))));
}

TEST_CASE("blocks that stand elsewhere in a table keep the positions of the tokens that were stored there") {
  Random random;
  const Ropes ropes = make_ropes(16);
  const auto attention = make_attention<float>();
  const Inputs<float> in({1, 5, 60, 2, 1, 16, 16}, random);
  constexpr Index block_size = 8;
  Pool pool(attention.placed_keys(), cache_shape(in.sizes), 9, block_size);
  UserTables stored;
  stored.add({});
  for (int k = 0; k < 8; ++k) stored.blocks[0].push_back(pool.take());
  const Operands<float> x = in.operands();
  pool.append(Eigen::DefaultDevice{}, stored.with_lengths({0}), x.key.entry(0), x.value.entry(0));

  // Two blocks exchanged, one of them as a copy, and the last as it was.
  const std::vector<Index> from{0, 5, 2, 3, 4, 1, 6, 7};
  UserTables moved;
  moved.add({});
  for (const Index b : from) moved.blocks[0].push_back(stored.blocks[0][static_cast<std::size_t>(b)]);
  const Index copy = pool.take();
  pool.copy_tokens(moved.blocks[0][1], copy, block_size);
  moved.blocks[0][1] = copy;
  const auto stored_at = [&](Index j) {
    return from[static_cast<std::size_t>(j / block_size)] * block_size + j % block_size;
  };
  Inputs<float> read = in;
  for (Index j = 0; j < 60; ++j) {
    std::copy_n(in.key.begin() + stored_at(j) * 16, 16, read.key.begin() + j * 16);
    std::copy_n(in.value.begin() + stored_at(j) * 16, 16, read.value.begin() + j * 16);
  }
  const auto all = reference::dual_chunk(chunks.chunk_size, chunks.local_window);
  const auto positions = [&](std::int64_t i, std::int64_t j) {
    auto at = all(i, j);
    if (at) at->key = stored_at(j) % (chunks.chunk_size - chunks.local_window);
    return at;
  };
  CHECK(difference(run_on(attention, in, dca::PagedKeyValues<Pool>(pool, moved.with_lengths({60}))),
                   reference_of(read, positions, ropes.reference, {.q_offset = 55})) == "");
}

TEST_CASE("a view of no sequences has none") {
  const auto attention = make_attention<float>();
  auto cache = attention.make_paged_cache<float>({.kv_heads = 1, .head_dim = 16, .v_head_dim = 16}, 2, 4);
  cache.add();
  const std::vector<Index> none;
  CHECK(cache.view(none).sequences() == 0);
  Random random;
  const Inputs<float> in({0, 1, 1, 1, 1, 16, 16}, random);
  CHECK(run_on(attention, in, cache.view(none)).out.empty());
}

TEST_CASE("a pool counts the users of its blocks") {
  Pool pool(make_attention<float>().placed_keys(), {.kv_heads = 1, .head_dim = 16, .v_head_dim = 16}, 2, 4);
  const Index block = pool.take();
  CHECK(pool.users(block) == 1);
  pool.share(block);
  pool.give_back(block);
  CHECK(pool.users(block) == 1);
  CHECK(pool.free_blocks() == 1);
  pool.give_back(block);
  CHECK(pool.users(block) == 0);
  CHECK(pool.free_blocks() == 2);
  CHECK(pool.bytes() == 2 * 4 * (16 + 16) * 4);
}

TEST_CASE("a paged cache of plain causal attention places keys at their absolute positions") {
  Random random;
  const Ropes ropes = make_ropes(8);
  const dca::CausalAttention<float> attention({.rope = ropes.library});
  const Inputs<float> in({1, 3, 2000, 2, 1, 8, 8}, random);
  auto cache = attention.make_paged_cache<float>(cache_shape(in.sizes), 2 * 41, 50);
  // Blocks of two sequences lie among each other, at positions of which those in the pool tell nothing.
  const Index other = cache.add(), sequence = cache.add();
  for (Index first = 0; first < 2000; first += 80) {
    append_tokens(cache, other, in, 0, first, random.integer(0, 80));
    append_tokens(cache, sequence, in, 0, first, 80);
  }
  const std::vector<Index> only{sequence};
  CHECK(difference(run_on(attention, in, cache.view(only)),
                   reference_of(in, reference::causal(), ropes.reference, {.q_offset = 1997})) == "");
}

TEST_CASE("a paged cache that has moved goes on as it was, and what it left behind can be filled again") {
  Random random;
  const Inputs<float> in({1, 1, 60, 2, 1, 16, 16}, random);
  auto first = make_attention<float>().make_paged_cache<float>(cache_shape(in.sizes), 20, 7);
  const Index origin = first.add();
  append_tokens(first, origin, in, 0, 0, 30);
  const Index fork = first.fork(origin);
  auto moved = std::move(first);
  first = make_attention<float>().make_paged_cache<float>(cache_shape(in.sizes), 9, 7);
  CHECK(holds(moved, origin, in, 0, 30));
  append_tokens(moved, fork, in, 0, 30, 30);
  append_tokens(moved, origin, in, 0, 30, 5);
  CHECK(holds(moved, fork, in, 0, 60));
  CHECK(holds(moved, origin, in, 0, 35));
  append_tokens(first, first.add(), in, 0, 0, 60);
  CHECK(holds(first, 0, in, 0, 60));
  moved = std::move(first);
  CHECK(holds(moved, 0, in, 0, 60));
}
