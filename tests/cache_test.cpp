// Contiguous caches: whatever is done to one, attention sees the tokens that it holds now, and nothing else.
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;

namespace {

constexpr dca::ChunkConfig chunks{40, 12};

template <class T>
dca::DualChunkAttention<T> make_attention(Index rotary_dim = 16) {
  return make_chunked<dca::DualChunkAttention<T>>(chunks, rotary_dim);
}

/// Appends tokens [first, last) of batch entry b in random pieces, some of them empty.
template <class Cache, class T>
void append_in_pieces(Cache& cache, Index sequence, const Inputs<T>& in, Index b, Index first, Index last,
                      Random& random) {
  while (first < last) {
    const Index count = std::min(last - first, random.integer(0, 40));
    append_tokens(cache, sequence, in, b, first, count);
    first += count;
  }
}

/// Fills a cache to its capacity with NaN, and empties it.
template <class T, class Cache>
void poison(Cache& cache, const Sizes& sizes) {
  Random random;
  Inputs<T> in({1, 0, cache.capacity(), 1, sizes.kv_heads, sizes.head_dim, sizes.v_head_dim}, random);
  std::fill(in.key.begin(), in.key.end(), std::numeric_limits<T>::quiet_NaN());
  std::fill(in.value.begin(), in.value.end(), std::numeric_limits<T>::quiet_NaN());
  for (Index sequence = 0; sequence < cache.sequences(); ++sequence) {
    append_tokens(cache, sequence, in, 0, 0, in.sizes.kv_len);
    cache.truncate(sequence, 0);
  }
}

/// Whether NaN left behind in a cache of K and V changes a bit of what later tokens give, for few and many queries.
template <class T, class K, class V>
bool stale_tokens_matter() {
  const auto attention = make_attention<T>();
  for (const Index q_len : {1, 3, 60}) {
    for (const Index kv_len : {60, 127, 129, 200}) {
      Random random(static_cast<std::uint64_t>(q_len * 1000 + kv_len));
      const Inputs<T> in({2, q_len, kv_len, 4, 2, 32, 64}, random);
      auto clean = attention.template make_cache<K, V>(cache_shape(in.sizes), 2, {.tokens = 256});
      auto used = attention.template make_cache<K, V>(cache_shape(in.sizes), 2, {.tokens = 256});
      poison<T>(used, in.sizes);
      clean.append(Eigen::DefaultDevice{}, in.operands().key, in.operands().value);
      used.append(Eigen::DefaultDevice{}, in.operands().key, in.operands().value);
      const auto expected = run_on(attention, in, clean.view());
      if (std::isnan(expected.out[0]) || !same_bits(run_on(attention, in, used.view()), expected)) return true;
    }
  }
  return false;
}

/// The keys and values of sequence 0, as they are stored.
template <class T, class View>
void read_back(const View& view, Inputs<T>& in) {
  const Sizes& s = in.sizes;
  for (Index j = 0; j < s.kv_len; ++j) {
    for (Index head = 0; head < s.kv_heads; ++head) {
      const Index row = j * s.kv_heads + head;
      dca::RowStorage<typename View::Key>::decode(view.keys(0, head, j).row(0), s.head_dim,
                                                  in.key.data() + row * s.head_dim);
      dca::RowStorage<typename View::Value>::decode(view.values(0, head, j).row(0), s.v_head_dim,
                                                    in.value.data() + row * s.v_head_dim);
    }
  }
}

/// Attention on a cache of K and V against the definition on the very numbers that are stored.
template <class K, class V>
void check_storage(Index q_len) {
  Random random;
  Inputs<float> in({1, q_len, 300, 4, 2, 64, 96}, random);
  const Ropes ropes = make_ropes(0);  // so that stored keys are keys as they came
  const dca::DualChunkAttention<float> attention({.chunks = chunks, .rope = ropes.library});
  auto cache = attention.make_cache<K, V>(cache_shape(in.sizes), 1, {.tokens = 300});
  append_in_pieces(cache, 0, in, 0, 0, 300, random);
  const auto actual = run_on(attention, in, cache.view());
  const auto before = in.value;
  read_back(cache.view(), in);
  CHECK_FALSE(same_bits(in.value, before));
  const double largest_logit =
      reference::largest_logit(to_array(in.query, in.query_shape()), to_array(in.key, in.key_shape()), ropes.reference,
                               1 / std::sqrt(64.0));
  CHECK(difference(actual, dual_chunk_reference(in, chunks, ropes.reference),
                   {.largest_logit = largest_logit, .integer_features = 64}) == "");
}

}  // namespace

TEMPLATE_TEST_CASE("tokens appended in any pieces give what the definition gives", "", float, double) {
  Random random;
  for (int trial = 0; trial < 20; ++trial) {
    Sizes s{2, 1, random.integer(1, 300), 1, random.integer(1, 2), random.integer(1, 40), random.integer(1, 40)};
    s.q_len = random.integer(1, std::min<Index>(s.kv_len, 50));
    s.heads = s.kv_heads * random.integer(1, 4);
    const Inputs<TestType> in(s, random);
    const Ropes ropes = make_ropes(s.head_dim / 2 * 2);
    const dca::DualChunkAttention<TestType> attention({.chunks = chunks, .rope = ropes.library});
    auto cache = attention.template make_cache<TestType>(cache_shape(s), 2, {.tokens = s.kv_len});
    for (const Index b : {1, 0}) append_in_pieces(cache, b, in, b, 0, s.kv_len, random);
    INFO("trial " << trial << ": q_len " << s.q_len << " kv_len " << s.kv_len << " heads " << s.heads << "/"
                  << s.kv_heads << " dims " << s.head_dim << "/" << s.v_head_dim);
    const auto actual = run_on(attention, in, cache.view());
    CHECK(difference(actual, dual_chunk_reference(in, chunks, ropes.reference)) == "");
    CHECK(same_bits(actual, run_on(attention, in, filled_cache<TestType>(attention, in).view())));
  }
}

TEMPLATE_TEST_CASE("a prompt attended piece by piece, while it comes in, gives the rows of one call", "", float,
                   double) {
  Random random;
  const Inputs<TestType> in({1, 250, 250, 4, 2, 16, 24}, random);
  const auto attention = make_attention<TestType>();
  const auto expected = dual_chunk_reference(in, chunks, make_ropes(16).reference);
  auto cache = attention.template make_cache<TestType>(cache_shape(in.sizes), 1, {.tokens = 250});
  Outputs<TestType> actual(in);
  for (Index first = 0; first < 250;) {
    const Index count = std::min(250 - first, random.integer(1, 60));
    append_tokens(cache, 0, in, 0, first, count);
    attention(Eigen::DefaultDevice{}, in.operands().query.slice(1, first, count), cache.view(),
              actual.out_view().slice(1, first, count), {.lse = actual.lse_view().slice(1, first, count)});
    first += count;
  }
  CHECK(difference(actual, expected) == "");
}

TEMPLATE_TEST_CASE("a cache that grows keeps what it holds, bit for bit", "", float, double) {
  Random random;
  const Inputs<TestType> in({3, 2, 300, 2, 2, 16, 8}, random);
  const auto attention = make_attention<TestType>();
  auto cache = attention.template make_cache<TestType>(cache_shape(in.sizes), 3, {.tokens = 1, .grows = true});
  Index last_capacity = 0, growths = 0;
  for (Index first = 0; first < 300;) {
    const Index count = std::min(300 - first, random.integer(1, 9));
    for (Index b = 0; b < 3; ++b) append_tokens(cache, b, in, b, first, count);
    growths += cache.capacity() != last_capacity ? 1 : 0;
    last_capacity = cache.capacity();
    first += count;
  }
  CHECK(cache.capacity() >= 300);
  CHECK(growths > 3);
  CHECK(growths < 20);
  CHECK(same_bits(run_on(attention, in, cache.view()),
                  run_on(attention, in, filled_cache<TestType>(attention, in).view())));
}

TEST_CASE("a cache that has moved goes on as it was") {
  Random random;
  const Inputs<float> in({2, 3, 90, 2, 1, 16, 16}, random);
  const auto attention = make_attention<float>();
  auto first = attention.make_cache<float>(cache_shape(in.sizes), 2, {.tokens = 90});
  for (Index b = 0; b < 2; ++b) append_tokens(first, b, in, b, 0, 50);
  auto moved = std::move(first);
  first = attention.make_cache<float>(cache_shape(in.sizes), 1, {.tokens = 1});
  for (Index b = 0; b < 2; ++b) append_tokens(moved, b, in, b, 50, 40);
  CHECK(
      same_bits(run_on(attention, in, moved.view()), run_on(attention, in, filled_cache<float>(attention, in).view())));
}

TEST_CASE("a workspace that has moved works, and so does what it left behind") {
  Random random;
  const Inputs<float> in({1, 1, 50, 2, 1, 16, 16}, random);
  const auto attention = make_attention<float>();
  const auto cache = filled_cache<float>(attention, in);
  dca::Workspace first;
  const auto expected = run_on(attention, in, cache.view(), {.workspace = &first});
  const Index bytes = first.bytes();
  CHECK(bytes > 0);
  dca::Workspace second = std::move(first);
  CHECK(second.bytes() == bytes);
  CHECK(same_bits(run_on(attention, in, cache.view(), {.workspace = &second}), expected));
  CHECK(same_bits(run_on(attention, in, cache.view(), {.workspace = &first}), expected));
  CHECK(first.bytes() == bytes);
}

TEMPLATE_TEST_CASE("tokens that were truncated are as if they had never been", "", float, double) {
  Random random;
  const auto attention = make_attention<TestType>();
  for (const Index q_len : {1, 2, 40}) {
    const Inputs<TestType> kept({1, q_len, 200, 4, 2, 16, 16}, random), dropped({1, 1, 200, 4, 2, 16, 16}, random);
    auto cache = attention.template make_cache<TestType>(cache_shape(kept.sizes), 1, {.tokens = 230});
    for (Index length = 0; length < 200;) {
      const Index wrong = random.integer(0, 30), right = std::min(200 - length, random.integer(1, 30));
      append_tokens(cache, 0, dropped, 0, 100, wrong);
      cache.truncate(0, length);
      CHECK(cache.length(0) == length);
      append_tokens(cache, 0, kept, 0, length, right);
      length += right;
    }
    CHECK(same_bits(run_on(attention, kept, cache.view()),
                    run_on(attention, kept, filled_cache<TestType>(attention, kept).view())));
  }
}

TEMPLATE_TEST_CASE("a copied prefix is the origin's, and each goes on by itself", "", float, double) {
  Random random;
  const Inputs<TestType> in({3, 2, 150, 4, 2, 16, 16}, random);
  const auto attention = make_attention<TestType>();
  auto cache = attention.template make_cache<TestType>(cache_shape(in.sizes), 3, {.tokens = 150});
  append_tokens(cache, 2, in, 2, 0, 130);  // to be replaced
  append_tokens(cache, 0, in, 0, 0, 120);
  cache.copy_prefix(0, 2, 100);
  cache.copy_prefix(0, 1, 0);
  CHECK(cache.length(1) == 0);
  CHECK(cache.length(2) == 100);
  append_tokens(cache, 2, in, 1, 100, 50);
  append_tokens(cache, 0, in, 0, 120, 30);
  Inputs<TestType> joined = entry_of(in, 1, 2, 150);
  const Inputs<TestType> origin = entry_of(in, 0, 2, 150);
  std::copy_n(origin.key.begin(), 100 * 2 * 16, joined.key.begin());
  std::copy_n(origin.value.begin(), 100 * 2 * 16, joined.value.begin());
  const std::vector<Index> first{0}, last{2};
  CHECK(same_bits(run_on(attention, origin, cache.view(first)),
                  run_on(attention, origin, filled_cache<TestType>(attention, origin).view())));
  CHECK(same_bits(run_on(attention, joined, cache.view(last)),
                  run_on(attention, joined, filled_cache<TestType>(attention, joined).view())));
}

TEMPLATE_TEST_CASE("sequences of other lengths in the same cache do not matter", "", float, double) {
  Random random;
  const Inputs<TestType> in({4, 3, 220, 4, 2, 16, 16}, random);
  const auto attention = make_attention<TestType>();
  auto cache = attention.template make_cache<TestType>(cache_shape(in.sizes), 4, {.tokens = 220});
  const std::vector<Index> lengths{3, 220, 57, 128}, order{2, 0, 3, 1, 2};
  for (Index b = 0; b < 4; ++b) {
    append_tokens(cache, b, in, b, 0, lengths[static_cast<std::size_t>(b)]);
    CHECK(cache.length(b) == lengths[static_cast<std::size_t>(b)]);
  }
  Inputs<TestType> together({5, 3, 1, 4, 2, 16, 16}, random);
  together.query.clear();
  std::vector<Outputs<TestType>> alone;
  for (const Index b : order) {
    const auto part = entry_of(in, b, 3, lengths[static_cast<std::size_t>(b)]);
    together.query.insert(together.query.end(), part.query.begin(), part.query.end());
    alone.push_back(run_on(attention, part, filled_cache<TestType>(attention, part).view()));
    CHECK(difference(alone.back(), dual_chunk_reference(part, chunks, make_ropes(16).reference)) == "");
  }
  const auto all = run_on(attention, together, cache.view(order));
  for (std::size_t k = 0; k < order.size(); ++k) {
    const std::size_t size = alone[k].out.size();
    CHECK(std::memcmp(all.out.data() + k * size, alone[k].out.data(), size * sizeof(TestType)) == 0);
  }
}

TEMPLATE_TEST_CASE("a batch append is one append per sequence, bit for bit", "", float, double) {
  Random random;
  const Inputs<TestType> in({3, 4, 100, 2, 2, 16, 16}, random);
  const auto attention = make_attention<TestType>();
  auto together = attention.template make_cache<TestType>(cache_shape(in.sizes), 3, {.tokens = 100});
  auto apart = attention.template make_cache<TestType>(cache_shape(in.sizes), 3, {.tokens = 100});
  const Eigen::DefaultDevice device;
  Eigen::ThreadPool pool(3);
  for (Index first = 0; first < 100; first += 50) {
    together.append(Eigen::ThreadPoolDevice(&pool, 3), in.operands().key.slice(1, first, 50),
                    in.operands().value.slice(1, first, 50));
    for (Index b = 0; b < 3; ++b) append_tokens(apart, b, in, b, first, 50, device);
  }
  CHECK(same_bits(run_on(attention, in, together.view()), run_on(attention, in, apart.view())));
}

TEMPLATE_TEST_CASE("NaN behind a truncation never reaches a result", "", float, double) {
  CHECK_FALSE(stale_tokens_matter<TestType, TestType, TestType>());
}

TEST_CASE("NaN behind a truncation never reaches a result from small storage") {
  CHECK_FALSE(stale_tokens_matter<float, dca::Int8, Eigen::half>());
  CHECK_FALSE(stale_tokens_matter<float, dca::Int4, Eigen::bfloat16>());
}

TEST_CASE("small storage costs its rounding and no more") {
  for (const Index q_len : {1, 4, 100}) {
    check_storage<dca::Int8, Eigen::half>(q_len);
    check_storage<dca::Int4, Eigen::bfloat16>(q_len);
    check_storage<float, dca::Int8>(q_len);
    check_storage<Eigen::half, dca::Int4>(q_len);
  }
}

TEST_CASE("a cache of plain causal attention places keys at their absolute positions") {
  Random random;
  const Inputs<float> in({1, 3, 5000, 2, 1, 8, 8}, random);
  const Ropes ropes = make_ropes(8);
  const dca::CausalAttention<float> attention({.rope = ropes.library});
  auto cache = attention.make_cache<float>(cache_shape(in.sizes), 1, {.tokens = 5000});
  append_in_pieces(cache, 0, in, 0, 0, 5000, random);
  CHECK(difference(run_on(attention, in, cache.view()),
                   reference_of(in, reference::causal(), ropes.reference, {.q_offset = 4997})) == "");
}

TEST_CASE("a cache tells its sizes") {
  const auto attention = make_attention<float>();
  const auto cache =
      attention.make_cache<dca::Int8, Eigen::half>({.kv_heads = 2, .head_dim = 32, .v_head_dim = 8}, 3, {.tokens = 10});
  CHECK(cache.sequences() == 3);
  CHECK(cache.capacity() == 10);
  CHECK(cache.length(2) == 0);
  CHECK(cache.bytes() == 3 * 2 * 10 * (36 + 16));
}
