// What can go wrong with caches: each refused by name and value, with nothing changed. Pools: pool_bad_input_test.cpp.
#include "support/bad_input.hpp"

using namespace dca_test;
using namespace dca_test::bad_input;
using dca::contiguous;
using dca::Extents;

namespace {

constexpr float untouched = -12345.0f;

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

/// A call on a cache, made by one operator, with another one and other tensors: the message, and that nothing is
/// written.
void check_call_refused(const std::string& message, const Attention& attention, const Extents& query,
                        const Extents& out_shape) {
  const Contiguous held;
  std::vector<float> out(1024, untouched);
  const auto call = [&] {
    attention(Eigen::DefaultDevice{}, rows(query), held.cache.view(), contiguous(out.data(), out_shape));
  };
  CHECK_THROWS_AS(call(), std::invalid_argument);
  CHECK_THROWS_WITH(call(), contains(message));
  for (const float x : out) REQUIRE(x == untouched);
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
  yarn(Eigen::DefaultDevice{}, rows({2, 1, 4, 8}), held.cache.view(), contiguous(out.data(), {2, 1, 4, 8}));
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
  CHECK_THROWS_WITH(make_attention()(Eigen::DefaultDevice{}, rows({2, 1, 4, 8}), held.cache.view(),
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
TEST_CASE("a key offset that comes too late") {
  for (const dca::Extents& of : {dca::Extents{2, 8}, {3, 8}}) {
    check_refused<Contiguous>("dca: key_offset: given after 5 tokens; must be given before the first token",
                              [&](Contiguous& h) { h.cache.set_key_offset(rows(of)); });
  }
  check_refused<Paged>("dca: key_offset: given with 3 blocks in use; must be given before the first token",
                       [](Paged& h) {
                         h.cache.set_key_offset(rows({2, 8}));
                       });
}
TEST_CASE("key offsets that are none, and one that is, once a cache is empty again") {
  struct Empty : Contiguous {
    Empty() {
      for (const Index sequence : {0, 1}) cache.truncate(sequence, 0);
    }
    std::vector<float> state() const {  // on a copy: the tokens of Contiguous again, as this cache stores them
      auto& held = const_cast<dca::KeyValueCache<float>&>(cache);
      append_tokens(held, 0, tokens(), 0, 0, 5);
      const std::vector<Index> only{0};
      std::vector<float> all = result_of(held.view(only));
      held.truncate(0, 0);
      return all;
    }
  };
  const auto refused = [](const std::string& message, auto offset) {
    check_refused<Empty>("dca: key_offset: " + message, [&](Empty& h) { h.cache.set_key_offset(offset); });
  };
  refused("kv_heads 3; must be that of the cache, 2", rows({3, 8}));
  refused("head_dim 9; must be that of the cache, 8", rows({2, 9}));
  refused("rank 3; must be 2: [kv_heads, head_dim]", rows({1, 2, 8}));
  refused("rank 1", rows({16}));
  refused("no data", dca::TensorView<const float>{nullptr, {2, 8}, {8, 1}});
  refused("head_dim stride 2", dca::TensorView<const float>{rows({32}).data, {2, 8}, {16, 2}});
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity(), 1e200}) {
    std::vector<double> offset(16, 1.0);
    offset[9] = bad;  // beyond float's range also
    refused((std::isnan(bad) ? std::string("nan")
             : bad > 0       ? "inf"
                             : "-inf") +
                "; must be finite",
            contiguous(std::as_const(offset).data(), {2, 8}));
  }
  Empty held;
  const std::vector<float> before = held.state();
  const std::vector<float> large(16, 98765.4F);  // after which little is left of keys
  held.cache.set_key_offset(contiguous(large.data(), {2, 8}));
  CHECK_FALSE(same_bits(held.state(), before));
  const std::vector<float> zeros(16);
  held.cache.set_key_offset(contiguous(zeros.data(), {2, 8}));
  CHECK(same_bits(held.state(), before));
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
