// What can go wrong with caches: each refused by name and value, with nothing changed.
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;
using dca::contiguous;
using dca::Extents;
using Attention = dca::DualChunkAttention<float>;
using Pool = dca::BlockPool<float>;

namespace {

constexpr float untouched = -12345.0f;
constexpr dca::ChunkConfig chunks{6, 2};
constexpr dca::CacheShape shape{.kv_heads = 2, .head_dim = 8, .v_head_dim = 8};
constexpr Index huge = std::numeric_limits<Index>::max();

Attention make_attention() { return make_chunked<Attention>(chunks, 8); }

/// Tokens to append: a problem of 16 tokens.
const Inputs<float>& tokens() {
  Random random;
  static const Inputs<float> in({2, 1, 16, 4, 2, 8, 8}, random);
  return in;
}

dca::TensorView<const float> rows(const Extents& of) {
  static const std::vector<float> memory(4096, 0.5f);
  return contiguous(memory.data(), of);
}

/// What one query after all tokens gets from a view of one sequence.
template <class View>
std::vector<float> result_of(const View& view) {
  std::vector<float> out(4 * 8);
  attend_source(make_attention(), Eigen::DefaultDevice{}, rows({1, 1, 4, 8}), view,
                contiguous(out.data(), {1, 1, 4, 8}));
  return out;
}

/// Two sequences of 5 and 3 tokens in a contiguous cache with room for 12.
struct Contiguous {
  dca::KeyValueCache<float> cache = make_attention().make_cache<float>(shape, 2, {.tokens = 12});
  Contiguous() {
    append_tokens(cache, 0, tokens(), 0, 0, 5);
    append_tokens(cache, 1, tokens(), 1, 0, 3);
  }
  std::vector<float> state() const {
    std::vector<float> all{static_cast<float>(cache.length(0)), static_cast<float>(cache.length(1))};
    for (const Index sequence : {0, 1}) {
      const std::vector<Index> only{sequence};
      for (const float x : result_of(cache.view(only))) all.push_back(x);
    }
    return all;
  }
};

/// Sequences 0 and 2 of 6 and 4 tokens in blocks of 4, and 1 that was removed; one block is free.
struct Paged {
  dca::PagedCache<float> cache = make_attention().make_paged_cache<float>(shape, 4, 4);
  Paged() {
    for (int k = 0; k < 3; ++k) cache.add();
    append_tokens(cache, 0, tokens(), 0, 0, 6);
    append_tokens(cache, 2, tokens(), 1, 0, 4);
    cache.remove(1);
  }
  std::vector<float> state() const {
    std::vector<float> all{static_cast<float>(cache.length(0)), static_cast<float>(cache.length(2)),
                           static_cast<float>(cache.pool().free_blocks())};
    for (const Index sequence : {0, 2}) {
      const std::vector<Index> only{sequence};
      for (const float x : result_of(cache.view(only))) all.push_back(x);
    }
    return all;
  }
};

/// Blocks 0, 1 and 2 of a pool of 5 in use, with a token in each place, so that no write goes unseen; `blocks` has 3
/// tokens in block 0 and goes on in block 1.
struct UserPool {
  Pool pool{make_attention().placed_keys(), shape, 5, 4};
  std::vector<Index> blocks{0, 1}, all_blocks{0, 1, 2};
  UserPool() {
    for (int k = 0; k < 3; ++k) pool.take();
    append(std::vector<dca::BlockTable>{{all_blocks, 0}}, 12);
  }
  void append(const std::vector<dca::BlockTable>& tables, Index count) {
    const auto batch = static_cast<Index>(tables.size());
    const auto part = [&](dca::TensorView<const float> x) {
      x.shape[0] = batch;
      return rows_of(x, 0, count);
    };
    pool.append(Eigen::DefaultDevice{}, tables, part(tokens().operands().key), part(tokens().operands().value));
  }
  std::vector<float> state() const {
    const std::vector<dca::BlockTable> tables{{all_blocks, 12}};
    std::vector<float> all = result_of(dca::PagedKeyValues<Pool>(pool, tables));
    for (Index block = 0; block < 5; ++block) all.push_back(static_cast<float>(pool.users(block)));
    return all;
  }
};

/// Does something wrong to a cache, and checks the message, and that nothing has changed.
template <class Held, class Spoil>
void check_refused(const std::string& message, const Spoil& spoil) {
  Held held;
  const std::vector<float> before = held.state();
  REQUIRE_FALSE(std::isnan(before.back()));
  CHECK_THROWS_AS(spoil(held), std::invalid_argument);
  CHECK_THROWS_WITH(spoil(held), contains(message));
  CHECK(same_bits(held.state(), before));
}

/// A call on a cache, made by one operator, with another one and other tensors: the message, and that nothing is
/// written.
void check_call_refused(const std::string& message, const Attention& attention, const Extents& query,
                        const Extents& out_shape) {
  const Contiguous held;
  std::vector<float> out(1024, untouched);
  const auto call = [&] {
    attend_source(attention, Eigen::DefaultDevice{}, rows(query), held.cache.view(), contiguous(out.data(), out_shape));
  };
  CHECK_THROWS_AS(call(), std::invalid_argument);
  CHECK_THROWS_WITH(call(), contains(message));
  for (const float x : out) REQUIRE(x == untouched);
}

Attention other(dca::ChunkConfig config, double theta = 10000.0, bool interleaved = false) {
  return Attention({.chunks = config, .rope = make_ropes(8, theta, 1.0, interleaved).library});
}

/// Appends key and value of other shapes to sequence 0.
template <class Held>
void check_shapes_refused(const std::string& message, const Extents& key, const Extents& value) {
  check_refused<Held>(message, [&](Held& h) { h.cache.append(Eigen::DefaultDevice{}, 0, rows(key), rows(value)); });
}

}  // namespace

TEST_CASE("appending past the capacity") {
  check_refused<Contiguous>("dca: key: 8 tokens after 5; must fit the cache's capacity, 12",
                            [](Contiguous& h) { append_tokens(h.cache, 0, tokens(), 0, 0, 8); });
  check_refused<Contiguous>("dca: key: 8 tokens after 5; must fit the cache's capacity, 12", [](Contiguous& h) {
    h.cache.append(Eigen::DefaultDevice{}, rows({2, 8, 2, 8}), rows({2, 8, 2, 8}));
  });
}
TEST_CASE("appending past the free blocks") {
  check_refused<Paged>("dca: key: 7 tokens after 6 need 2 blocks; must fit the free ones, 1",
                       [](Paged& h) { append_tokens(h.cache, 0, tokens(), 0, 0, 7); });
  check_refused<UserPool>("dca: blocks: all 5 are in use", [](UserPool& h) {
    const Index fourth = h.pool.take(), fifth = h.pool.take();
    try {
      h.pool.take();
    } catch (...) {
      h.pool.give_back(fifth);
      h.pool.give_back(fourth);
      throw;
    }
  });
}
TEST_CASE("a copy that has no block to go to") {
  check_refused<Paged>("need 1 blocks; must fit the free ones, 0", [](Paged& h) {
    const Index extra = h.cache.add(), fork = h.cache.fork(0);
    append_tokens(h.cache, extra, tokens(), 0, 0, 4);
    try {
      append_tokens(h.cache, fork, tokens(), 0, 0, 1);
    } catch (...) {
      h.cache.remove(extra);
      h.cache.remove(fork);
      throw;
    }
  });
}
TEST_CASE("blocks out of the pool") {
  check_refused<UserPool>("dca: block_table: block 5; must be from 0 to 4", [](UserPool& h) {
    const std::vector<Index> blocks{0, 5};
    h.append({{blocks, 3}}, 2);
  });
  check_refused<UserPool>("dca: block_table: block -1", [](UserPool& h) {
    const std::vector<Index> blocks{0, -1};
    const std::vector<dca::BlockTable> tables{{blocks, 5}};
    dca::PagedKeyValues<Pool>(h.pool, tables);
  });
  check_refused<UserPool>("dca: block_table: block 7", [](UserPool& h) { h.pool.share(7); });
  check_refused<UserPool>("dca: block_table: block 7", [](UserPool& h) { h.pool.give_back(7); });
  check_refused<UserPool>("dca: block_table: block 7", [](UserPool& h) { h.pool.users(7); });
}
TEST_CASE("blocks that are free") {
  check_refused<UserPool>("dca: block_table: block 3 is free", [](UserPool& h) {
    const std::vector<Index> blocks{0, 3};
    h.append({{blocks, 3}}, 2);
  });
  check_refused<UserPool>("dca: block_table: block 3 is free", [](UserPool& h) { h.pool.share(3); });
  check_refused<UserPool>("dca: block_table: block 3 is free", [](UserPool& h) { h.pool.give_back(3); });
  check_refused<UserPool>("dca: block_table: block 3 is free", [](UserPool& h) { h.pool.copy_tokens(0, 3, 1); });
  check_refused<UserPool>("dca: block_table: block 4 is free", [](UserPool& h) { h.pool.copy_tokens(4, 1, 1); });
}
TEST_CASE("a block written through two places") {
  check_refused<UserPool>("dca: block_table: block 1 is listed twice", [](UserPool& h) {
    const std::vector<Index> blocks{0, 1, 1};
    h.append({{blocks, 4}}, 8);
  });
  check_refused<UserPool>("dca: block_table: block 1 is listed twice", [](UserPool& h) {
    const std::vector<Index> one{0, 1}, two{2, 1};
    h.append({{one, 4}, {two, 4}}, 1);
  });
}
TEST_CASE("a block written while another uses it") {
  check_refused<UserPool>("dca: block_table: block 1 has 2 users; a block that is written must have one",
                          [](UserPool& h) {
                            h.pool.share(1);
                            try {
                              h.append({{h.blocks, 3}}, 2);
                            } catch (...) {
                              h.pool.give_back(1);
                              throw;
                            }
                          });
}
TEST_CASE("block tables that are too short") {
  check_refused<UserPool>("dca: block_table: 2 blocks of 4; must hold 9 tokens", [](UserPool& h) {
    h.append({{h.blocks, 3}}, 6);
  });
  check_refused<UserPool>("dca: block_table: 2 blocks of 4; must hold 9 tokens", [](UserPool& h) {
    const std::vector<dca::BlockTable> tables{{h.blocks, 9}};
    dca::PagedKeyValues<Pool>(h.pool, tables);
  });
  for (const Index length : {Index{-1}, huge}) {
    check_refused<UserPool>("dca: block_table: 2 blocks of 4; must hold " + std::to_string(length), [&](UserPool& h) {
      h.append({{h.blocks, length}}, 1);
    });
  }
}
TEST_CASE("copies beyond a block") {
  check_refused<UserPool>("dca: tokens: 5; must be from 0 to block_size, 4",
                          [](UserPool& h) { h.pool.copy_tokens(0, 1, 5); });
  check_refused<UserPool>("dca: tokens: -1", [](UserPool& h) { h.pool.copy_tokens(0, 1, -1); });
}

namespace {

/// Blocks 0 to 3 of a pool of 5 in use, with summaries of 16 keys in blocks of 4: `blocks` has 9 tokens, and what comes
/// next belongs to the same summary. Each place holds a token that no later call writes.
struct SummarisedPool {
  Pool pool{make_attention().placed_keys(), {2, 8, 8, 16}, 5, 4};
  std::vector<Index> blocks{0, 1, 2, 3};
  SummarisedPool() {
    for (int k = 0; k < 4; ++k) pool.take();
    const std::vector<dca::BlockTable> tables{{blocks, 0}};
    const auto first = [](dca::TensorView<const float> x) {
      x.shape[0] = 1;
      return x;
    };
    pool.append(Eigen::DefaultDevice{}, tables, first(tokens().operands().key), first(tokens().operands().value));
  }
  void append(const std::vector<dca::BlockTable>& tables, Index count) {
    const auto batch = static_cast<Index>(tables.size());
    pool.append(Eigen::DefaultDevice{}, tables, rows({batch, count, 2, 8}), rows({batch, count, 2, 8}));
  }
  std::vector<float> state() const {
    const std::vector<dca::BlockTable> tables{{blocks, 16}};
    std::vector<float> all = result_of(dca::PagedKeyValues<Pool>(pool, tables));
    all.resize(all.size() + 3 * 8);
    pool.read_summary(tables[0], 0, 0, all.data() + all.size() - 3 * 8);
    return all;
  }
};

/// A pool of 2 blocks of `block_size`, one of them in use.
Pool pool_of(const Attention& attention, const dca::CacheShape& of, Index block_size = 4) {
  Pool pool(attention.placed_keys(), of, 2, block_size);
  pool.take();
  return pool;
}

void check_copy_refused(const std::string& message, const Pool& other) {
  check_refused<UserPool>(message, [&](UserPool& h) { h.pool.copy_tokens_from(other, 0, 1, 4); });
}

}  // namespace

TEST_CASE("earlier blocks of a summary that goes on are checked before anything is written") {
  for (const Index block : {Index{5}, Index{-7}, Index{1000000}, huge}) {
    check_refused<SummarisedPool>("dca: block_table: block " + std::to_string(block) + "; must be from 0 to 4",
                                  [&](SummarisedPool& h) {
                                    const std::vector<Index> blocks{0, block, 2, 3};
                                    h.append({{blocks, 9}}, 5);
                                  });
  }
  check_refused<SummarisedPool>("dca: block_table: block 4 is free", [](SummarisedPool& h) {
    const std::vector<Index> blocks{0, 4, 2, 3};
    h.append({{blocks, 9}}, 5);
  });
  check_refused<SummarisedPool>("dca: block_table: block 3 is listed twice", [](SummarisedPool& h) {
    const std::vector<Index> blocks{0, 3, 2, 3};
    h.append({{blocks, 9}}, 5);
  });
  check_refused<SummarisedPool>("dca: block_table: block 2 is listed twice", [](SummarisedPool& h) {
    // The second sequence reads what the first writes.
    const std::vector<Index> others{2, 3};
    h.append({{h.blocks, 9}, {others, 4}}, 1);
  });
}
TEST_CASE("earlier blocks of a summary may be shared") {
  SummarisedPool held;
  held.pool.share(0);
  held.pool.share(1);
  held.append({{held.blocks, 9}}, 5);
  CHECK(!std::isnan(held.state().back()));
}
TEST_CASE("reading a block that is free") {
  check_refused<UserPool>("dca: block_table: block 3 is free", [](UserPool& h) {
    const std::vector<Index> blocks{0, 3};
    const std::vector<dca::BlockTable> tables{{blocks, 5}};
    dca::PagedKeyValues<Pool>(h.pool, tables);
  });
}
TEST_CASE("copying into a block that others use, or onto itself") {
  check_refused<UserPool>("dca: block_table: block 1 has 2 users", [](UserPool& h) {
    h.pool.share(1);
    try {
      h.pool.copy_tokens(0, 1, 2);
    } catch (...) {
      h.pool.give_back(1);
      throw;
    }
  });
  check_refused<UserPool>("dca: to: 1; must be another block", [](UserPool& h) { h.pool.copy_tokens(1, 1, 2); });
}
TEST_CASE("copying from a pool of another shape") {
  const Attention attention = make_attention();
  check_copy_refused("dca: other: kv_heads 1; must be that of this pool, 2", pool_of(attention, {1, 8, 8}));
  check_copy_refused("dca: other: head_dim 16", pool_of(attention, {2, 16, 8}));
  check_copy_refused("dca: other: v_head_dim 4", pool_of(attention, {2, 8, 4}));
  check_copy_refused("dca: other: summary_block 16; must be that of this pool, 0", pool_of(attention, {2, 8, 8, 16}));
  check_refused<SummarisedPool>("dca: other: summary_block 0", [&](SummarisedPool& h) {
    h.pool.copy_tokens_from(pool_of(attention, {2, 8, 8}), 0, 3, 4);
  });
  check_refused<SummarisedPool>("dca: other: summary_block 4", [&](SummarisedPool& h) {
    h.pool.copy_tokens_from(pool_of(attention, {2, 8, 8, 4}), 0, 3, 4);
  });
}
TEST_CASE("copying from a pool whose keys are placed otherwise") {
  check_copy_refused("dca: other: made for another chunk layout; must be that of this pool",
                     pool_of(other({6, 3}), shape));
  check_copy_refused("dca: other: made for another rotary embedding", pool_of(other(chunks, 10001.0), shape));
  check_copy_refused("dca: other: made for another rotary embedding", pool_of(other(chunks, 10000.0, true), shape));
}
TEST_CASE("copying between blocks that start at different places of a summary") {
  check_refused<SummarisedPool>(
      "dca: from: block 1 starts 6 tokens after a multiple of summary_block; in this pool it must be a multiple of 4",
      [](SummarisedPool& h) {
        Pool sixes(make_attention().placed_keys(), {2, 8, 8, 16}, 2, 6);
        const std::vector<Index> blocks{sixes.take(), sixes.take()};
        const std::vector<dca::BlockTable> tables{{blocks, 0}};
        sixes.append(Eigen::DefaultDevice{}, tables, rows({1, 12, 2, 8}), rows({1, 12, 2, 8}));
        h.pool.copy_tokens_from(sixes, 1, 3, 4);
      });
}

TEST_CASE("a cache made for another chunk layout") {
  for (const dca::ChunkConfig config : {dca::ChunkConfig{6, 3}, {7, 3}}) {
    check_call_refused("dca: cache: made for another chunk layout", other(config), {2, 1, 4, 8}, {2, 1, 4, 8});
  }
}
TEST_CASE("a cache made for other rotary frequencies") {
  check_call_refused("dca: cache: made for another rotary embedding", other(chunks, 10001.0), {2, 1, 4, 8},
                     {2, 1, 4, 8});
  check_call_refused("dca: cache: made for another rotary embedding", make_chunked<Attention>(chunks, 6), {2, 1, 4, 8},
                     {2, 1, 4, 8});
}
TEST_CASE("a cache made for another pairing") {
  check_call_refused("dca: cache: made for another rotary embedding", other(chunks, 10000.0, true), {2, 1, 4, 8},
                     {2, 1, 4, 8});
}
TEST_CASE("an attention factor is the operator's alone: keys are free of it") {
  const Contiguous held;
  std::vector<float> out(2 * 4 * 8, untouched);
  const Attention yarn({.chunks = chunks, .rope = make_ropes(8, 10000.0, 1.2).library});
  attend_source(yarn, Eigen::DefaultDevice{}, rows({2, 1, 4, 8}), held.cache.view(),
                contiguous(out.data(), {2, 1, 4, 8}));
  CHECK(out.back() != untouched);
}
TEST_CASE("queries that do not fit a cache") {
  check_call_refused("dca: key: head_dim 8; must be that of query, 16", make_attention(), {2, 1, 4, 16}, {2, 1, 4, 8});
  check_call_refused("2 kv_heads do not divide the 3 heads", make_attention(), {2, 1, 3, 8}, {2, 1, 3, 8});
  check_call_refused("dca: key: batch 2; must be that of query, 1", make_attention(), {1, 4, 8}, {1, 4, 8});
  check_call_refused("dca: key: batch 2; must be that of query, 3", make_attention(), {3, 1, 4, 8}, {3, 1, 4, 8});
  check_call_refused("dca: out: v_head_dim 4; must be that of value, 8", make_attention(), {2, 1, 4, 8}, {2, 1, 4, 4});
  check_call_refused("dca: query: 4 rows; must be at most kv_len, 3", make_attention(), {2, 4, 4, 8}, {2, 4, 4, 8});
}
TEST_CASE("an offset that does not fit a cache") {
  const Contiguous held;
  std::vector<float> out(2 * 4 * 8, untouched);
  CHECK_THROWS_WITH(attend_source(make_attention(), Eigen::DefaultDevice{}, rows({2, 1, 4, 8}), held.cache.view(),
                                  contiguous(out.data(), {2, 1, 4, 8}), {.q_offset = 3}),
                    contains("dca: q_offset: 3 with 1 query rows"));
  for (const float x : out) REQUIRE(x == untouched);
}

TEST_CASE("wrong shapes to append") {
  check_shapes_refused<Contiguous>("dca: key: rank 2", {1, 16}, {1, 2, 8});
  check_shapes_refused<Contiguous>("dca: key: batch 2", {2, 1, 2, 8}, {2, 1, 2, 8});
  check_shapes_refused<Contiguous>("dca: value: length 2", {1, 2, 8}, {2, 2, 8});
  check_shapes_refused<Contiguous>("dca: key: kv_heads 1", {1, 1, 8}, {1, 2, 8});
  check_shapes_refused<Contiguous>("dca: value: kv_heads 3", {1, 2, 8}, {1, 3, 8});
  check_shapes_refused<Contiguous>("dca: key: head_dim 7", {1, 2, 7}, {1, 2, 8});
  check_shapes_refused<Contiguous>("dca: value: v_head_dim 16", {1, 2, 8}, {1, 2, 16});
  check_shapes_refused<Paged>("dca: key: batch 2", {2, 1, 2, 8}, {2, 1, 2, 8});
  check_shapes_refused<Paged>("dca: value: length 2", {1, 2, 8}, {2, 2, 8});
  check_shapes_refused<Paged>("dca: key: head_dim 7", {1, 2, 7}, {1, 2, 8});
  check_refused<Contiguous>("dca: key: batch 1; must be that of the cache's sequences, 2", [](Contiguous& h) {
    h.cache.append(Eigen::DefaultDevice{}, rows({1, 2, 8}), rows({1, 2, 8}));
  });
}
TEST_CASE("features to append that are not contiguous, or not there") {
  check_refused<Contiguous>("dca: value: head_dim stride 2", [](Contiguous& h) {
    auto value = rows({1, 2, 8});
    value.strides[2] = 2;
    h.cache.append(Eigen::DefaultDevice{}, 0, rows({1, 2, 8}), value);
  });
  check_refused<Paged>("dca: key: no data", [](Paged& h) {
    h.cache.append(Eigen::DefaultDevice{}, 0, contiguous<const float>(nullptr, {1, 2, 8}), rows({1, 2, 8}));
  });
}
TEST_CASE("truncating to a length that is not there") {
  check_refused<Contiguous>("dca: length: 6; must be from 0 to the sequence's, 5",
                            [](Contiguous& h) { h.cache.truncate(0, 6); });
  check_refused<Contiguous>("dca: length: -1", [](Contiguous& h) { h.cache.truncate(1, -1); });
  check_refused<Paged>("dca: length: 7; must be from 0 to the sequence's length, 6",
                       [](Paged& h) { h.cache.truncate(0, 7); });
  check_refused<Paged>("dca: length: -1", [](Paged& h) { h.cache.truncate(0, -1); });
}
TEST_CASE("copying a prefix that is not there, or onto itself") {
  check_refused<Contiguous>("dca: length: 6", [](Contiguous& h) { h.cache.copy_prefix(0, 1, 6); });
  check_refused<Contiguous>("dca: length: -1", [](Contiguous& h) { h.cache.copy_prefix(0, 1, -1); });
  check_refused<Contiguous>("dca: to: 0; must be another sequence than from",
                            [](Contiguous& h) { h.cache.copy_prefix(0, 0, 2); });
  check_refused<Contiguous>("dca: sequence: 2", [](Contiguous& h) { h.cache.copy_prefix(2, 0, 0); });
  check_refused<Contiguous>("dca: sequence: -1", [](Contiguous& h) { h.cache.copy_prefix(0, -1, 0); });
}
TEST_CASE("sequences of a contiguous cache that are not there") {
  check_refused<Contiguous>("dca: sequence: 2; must be from 0 to 1",
                            [](Contiguous& h) { append_tokens(h.cache, 2, tokens(), 0, 0, 1); });
  check_refused<Contiguous>("dca: sequence: -1", [](Contiguous& h) { h.cache.truncate(-1, 0); });
  check_refused<Contiguous>("dca: sequence: 2", [](Contiguous& h) { h.cache.length(2); });
  check_refused<Contiguous>("dca: order: 2", [](Contiguous& h) {
    const std::vector<Index> order{0, 2};
    h.cache.view(order);
  });
}
TEST_CASE("sequences of a paged cache that are not there") {
  for (const Index gone : {1, 3, -1}) {
    const std::string message =
        "dca: sequence: " + std::to_string(gone) + "; must be one that was added and not removed";
    check_refused<Paged>(message, [&](Paged& h) { append_tokens(h.cache, gone, tokens(), 0, 0, 1); });
    check_refused<Paged>(message, [&](Paged& h) { h.cache.fork(gone); });
    check_refused<Paged>(message, [&](Paged& h) { h.cache.remove(gone); });
    check_refused<Paged>(message, [&](Paged& h) { h.cache.truncate(gone, 0); });
    check_refused<Paged>(message, [&](Paged& h) { h.cache.length(gone); });
    check_refused<Paged>(message, [&](Paged& h) {
      const std::vector<Index> order{0, gone};
      h.cache.view(order);
    });
  }
}

TEST_CASE("sizes of a cache that are no sizes") {
  const Attention attention = make_attention();
  CHECK_THROWS_WITH(attention.make_cache<float>(shape, 2, {.tokens = 0}), contains("dca: capacity: 0"));
  CHECK_THROWS_WITH(attention.make_cache<float>(shape, 2, {.tokens = -3, .grows = true}),
                    contains("dca: capacity: -3"));
  CHECK_THROWS_WITH(attention.make_cache<float>(shape, 0, {.tokens = 4}), contains("dca: sequences: 0"));
  CHECK_THROWS_WITH(attention.make_paged_cache<float>(shape, -1, 4), contains("dca: blocks: -1; must be at least 0"));
  CHECK_THROWS_WITH(attention.make_paged_cache<float>(shape, 4, 0), contains("dca: block_size: 0; must be at least 1"));
  CHECK_THROWS_WITH(attention.make_cache<float>({0, 8, 8}, 2, {.tokens = 4}), contains("dca: kv_heads: 0"));
  CHECK_THROWS_WITH(attention.make_cache<float>({2, 0, 8}, 2, {.tokens = 4}), contains("dca: head_dim: 0"));
  CHECK_THROWS_WITH(attention.make_cache<float>({2, 8, -1}, 2, {.tokens = 4}), contains("dca: v_head_dim: -1"));
}
TEST_CASE("head_dims that do not suit the storage") {
  const Attention attention = make_attention();
  CHECK_THROWS_WITH(attention.make_cache<dca::Int4>({2, 48, 64}, 1, {.tokens = 4}),
                    contains("dca: head_dim: 48; must be a multiple of 32 for its storage"));
  CHECK_THROWS_WITH((attention.make_cache<float, dca::Int4>({2, 48, 40}, 1, {.tokens = 4})),
                    contains("dca: v_head_dim: 40; must be a multiple of 32 for its storage"));
  CHECK_THROWS_WITH(attention.make_paged_cache<dca::Int4>({2, 8, 32}, 4, 4), contains("dca: head_dim: 8"));
}
TEST_CASE("a rotary_dim beyond the head_dim of a cache") {
  CHECK_THROWS_WITH(make_attention().make_cache<float>({2, 6, 8}, 1, {.tokens = 4}),
                    contains("dca: rotary_dim: 8; must be at most head_dim, 6"));
}
TEST_CASE("sizes of a cache whose product overflows") {
  const Attention attention = make_attention();
  CHECK_THROWS_WITH(attention.make_cache<float>(shape, 1, {.tokens = huge}), contains("overflows"));
  CHECK_THROWS_WITH(attention.make_cache<float>(shape, Index{1} << 40, {.tokens = Index{1} << 40}),
                    contains("overflows"));
  CHECK_THROWS_WITH(attention.make_paged_cache<float>(shape, huge, 4), contains("overflows"));
  CHECK_THROWS_WITH(attention.make_paged_cache<float>(shape, 1, huge), contains("overflows"));
  CHECK_THROWS_WITH(attention.make_cache<float>({huge, 8, 8}, 1, {.tokens = 1}), contains("dca: kv_heads"));
}
TEST_CASE("more tokens than a growing cache could ever hold") {
  const Attention attention = make_chunked<Attention>(chunks, 0);
  auto cache = attention.make_cache<float>({1, 1, 1}, 2, {.tokens = 4, .grows = true});
  const float zero = 0;
  // One number as so many tokens.
  const dca::TensorView<const float> many{&zero, {Index{1} << 60, 1, 1}, {0, 1, 1}};
  CHECK_THROWS_WITH(cache.append(Eigen::DefaultDevice{}, 0, many, many), contains("overflows"));
  CHECK(cache.length(0) == 0);
  CHECK(cache.capacity() == 4);
}
