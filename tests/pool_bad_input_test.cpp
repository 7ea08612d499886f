// What can go wrong with pools of blocks and tables of them: each refused by name and value, with nothing changed.
#include "support/bad_input.hpp"

using namespace dca_test;
using namespace dca_test::bad_input;
using Pool = dca::BlockPool<float>;

namespace {

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
    const auto part = [&](const auto& x) { return x.slice(0, 0, batch).slice(1, 0, count); };
    pool.append(Eigen::DefaultDevice{}, tables, part(tokens().operands().key), part(tokens().operands().value));
  }
  std::vector<float> state() const {
    const std::vector<dca::BlockTable> tables{{all_blocks, 12}};
    std::vector<float> all = result_of(dca::PagedKeyValues<Pool>(pool, tables));
    for (Index block = 0; block < 5; ++block) all.push_back(static_cast<float>(pool.users(block)));
    return all;
  }
};

/// Blocks 0 to 3 of a pool of 5 in use, with summaries of 16 keys in blocks of 4: `blocks` has 9 tokens, and what comes
/// next belongs to the same summary. Each place holds a token that no later call writes.
struct SummarisedPool {
  Pool pool{make_attention().placed_keys(), {2, 8, 8, 16}, 5, 4};
  std::vector<Index> blocks{0, 1, 2, 3};
  SummarisedPool() {
    for (int k = 0; k < 4; ++k) pool.take();
    const std::vector<dca::BlockTable> tables{{blocks, 0}};
    const Operands<float> x = tokens().operands();
    pool.append(Eigen::DefaultDevice{}, tables, x.key.entry(0), x.value.entry(0));
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

TEST_CASE("taking a block where none is free") {
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
TEST_CASE("a key offset for blocks in use, and copies between pools with different ones") {
  check_refused<UserPool>("dca: key_offset: given with 3 blocks in use; must be given before the first token",
                          [](UserPool& h) {
                            h.pool.set_key_offset(rows({2, 8}));
                          });
  Pool with(make_attention().placed_keys(), shape, 2, 4), same(make_attention().placed_keys(), shape, 2, 4);
  for (Pool* const pool : {&with, &same}) {
    pool->set_key_offset(rows({2, 8}));
    pool->take();
    pool->take();
  }
  check_copy_refused("dca: other: holds keys less another offset; must have the key offset of this pool", with);
  const Pool without = pool_of(make_attention(), shape);
  CHECK_THROWS_WITH(with.copy_tokens_from(without, 0, 1, 4), contains("holds keys less another offset"));
  std::vector<float> other(16, 0.5f);
  other[11] = 0.25f;
  Pool different(make_attention().placed_keys(), shape, 1, 4);
  different.set_key_offset(dca::contiguous(std::as_const(other).data(), {2, 8}));
  different.take();
  CHECK_THROWS_WITH(with.copy_tokens_from(different, 0, 1, 4), contains("holds keys less another offset"));
  with.copy_tokens_from(same, 0, 1, 4);
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
