// Sequences of all lengths in one call.
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;
using Ragged = dca::RaggedKeyValues<const float, const float>;

namespace {

constexpr dca::ChunkConfig chunks{70, 20};
constexpr Index heads = 4, kv_heads = 2, head_dim = 16;

dca::DualChunkAttention<float> make_attention() {
  return make_chunked<dca::DualChunkAttention<float>>(chunks, head_dim);
}

struct Request {
  Index q_len, kv_len;
};

/// Prompts, decoding, speculation, nothing to ask and nothing at all, in no order.
const std::vector<Request> mixed{{0, 0}, {90, 90},  {1, 2500}, {0, 33},  {3, 1100},
                                 {1, 1}, {60, 200}, {0, 0},    {1, 129}, {0, 0}};

/// Requests one after the other in ragged tensors, and each by itself.
struct Batch {
  std::vector<Inputs<float>> alone;
  std::vector<float> query, key, value;
  std::vector<Index> cu_queries{0}, cu_keys{0};

  Batch(const std::vector<Request>& requests, Random& random) {
    for (const Request& request : requests) {
      alone.emplace_back(Sizes{1, request.q_len, request.kv_len, heads, kv_heads, head_dim, head_dim}, random);
      const auto append = [](std::vector<float>& x, const std::vector<float>& more) {
        x.insert(x.end(), more.begin(), more.end());
      };
      append(query, alone.back().query);
      append(key, alone.back().key);
      append(value, alone.back().value);
      cu_queries.push_back(cu_queries.back() + request.q_len);
      cu_keys.push_back(cu_keys.back() + request.kv_len);
    }
  }

  dca::TensorView<const float> query_view() const {
    return dca::contiguous(query.data(), {cu_queries.back(), heads, head_dim});
  }
  Ragged source() const {
    const dca::Extents shape{cu_keys.back(), kv_heads, head_dim};
    return Ragged(dca::contiguous(key.data(), shape), dca::contiguous(value.data(), shape), cu_keys);
  }
  /// Problem of all queries, to make outputs for.
  Inputs<float> all() const {
    Random random;
    return Inputs<float>({1, cu_queries.back(), 0, heads, kv_heads, head_dim, head_dim}, random);
  }
};

/// All requests in one call on a source.
template <class Source, class Device = Eigen::DefaultDevice>
Outputs<float> run_batch(const Batch& batch, const Source& source, const Device& device = {}) {
  Outputs<float> outputs(batch.all());
  const dca::Extents rows{batch.cu_queries.back(), heads, head_dim};
  make_attention()(
      device, batch.query_view(), source, dca::contiguous(outputs.out.data(), rows),
      {.lse = dca::contiguous(outputs.lse.data(), {batch.cu_queries.back(), heads}), .cu_seqlens = batch.cu_queries});
  return outputs;
}

/// The rows of each request by itself, one after the other; `run_one` attends a problem.
template <class RunOne>
Outputs<float> run_alone(const Batch& batch, const RunOne& run_one) {
  Outputs<float> joined(batch.all());
  joined.out.clear();
  joined.lse.clear();
  for (const Inputs<float>& in : batch.alone) {
    const Outputs<float> outputs = run_one(in);
    joined.out.insert(joined.out.end(), outputs.out.begin(), outputs.out.end());
    joined.lse.insert(joined.lse.end(), outputs.lse.begin(), outputs.lse.end());
  }
  return joined;
}

/// The requests in a paged cache, in order.
dca::PagedCache<float> paged(const Batch& batch) {
  auto cache = make_attention().make_paged_cache<float>({kv_heads, head_dim, head_dim}, 1100, 4);
  for (const Inputs<float>& in : batch.alone) append_tokens(cache, cache.add(), in, 0, 0, in.sizes.kv_len);
  return cache;
}

std::vector<Index> numbers(std::size_t count) {
  std::vector<Index> all;
  for (std::size_t k = 0; k < count; ++k) all.push_back(static_cast<Index>(k));
  return all;
}

/// The message with which a ragged call on dense tensors is refused.
std::string refusal(const std::vector<Index>& cu_queries, const std::vector<Index>& cu_keys) {
  static const std::vector<float> memory(10 * heads * head_dim);
  std::vector<float> out(memory.size(), 7.0f);
  try {
    const Ragged source(dca::contiguous(memory.data(), {10, kv_heads, head_dim}),
                        dca::contiguous(memory.data(), {10, kv_heads, head_dim}), cu_keys);
    make_attention()(Eigen::DefaultDevice{}, dca::contiguous(memory.data(), {6, heads, head_dim}), source,
                     dca::contiguous(out.data(), {6, heads, head_dim}), {.cu_seqlens = cu_queries});
  } catch (const std::invalid_argument& error) {
    for (const float x : out) REQUIRE(x == 7.0f);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("prompts and decoding in one call give each sequence the bits that it gets alone") {
  Random random;
  const Batch batch(mixed, random);
  const auto attention = make_attention();
  const Outputs<float> cached = run_alone(
      batch, [&](const Inputs<float>& in) { return run_on(attention, in, filled_cache<float>(attention, in).view()); });
  const Outputs<float> dense = run_alone(batch, [&](const Inputs<float>& in) { return run(attention, in); });
  const auto cache = paged(batch);
  const std::vector<Index> order = numbers(mixed.size());
  CHECK(same_bits(run_batch(batch, cache.view(order)), cached));
  CHECK(same_bits(run_batch(batch, batch.source()), dense));
  for (const int threads : {1, 2, 3, 8}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    CHECK(same_bits(run_batch(batch, cache.view(order), device), cached));
    CHECK(same_bits(run_batch(batch, batch.source(), device), dense));
  }
}

TEST_CASE("each sequence of a ragged batch agrees with the definition") {
  Random random;
  const Batch batch(mixed, random);
  const auto actual = run_batch(batch, batch.source());
  const auto expected = run_alone(batch, [&](const Inputs<float>& in) {
    Outputs<float> rows(in);
    const auto result = dual_chunk_reference(in, chunks, make_ropes(head_dim).reference);
    rows.out.assign(result.out.data.begin(), result.out.data.end());
    rows.lse.assign(result.lse.data.begin(), result.lse.data.end());
    return rows;
  });
  CHECK(largest_error(actual.out, to_array(expected.out, expected.out_shape)) <= out_bound<float>({}, 4.0));
  CHECK(largest_error(actual.lse, to_array(expected.lse, expected.lse_shape)) <= lse_bound<float>({}, 8.0));
}

TEST_CASE("random ragged batches give each sequence the bits that it gets alone") {
  Random random;
  const auto attention = make_attention();
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<Request> requests(static_cast<std::size_t>(random.integer(1, 8)));
    for (Request& request : requests) {
      request.kv_len = random.integer(0, 2) * random.integer(0, 200);
      request.q_len = std::min(request.kv_len, random.integer(0, 2) * random.integer(0, 12));
    }
    const Batch batch(requests, random);
    const auto cache = paged(batch);
    const auto alone = run_alone(batch, [&](const Inputs<float>& in) {
      return run_on(attention, in, filled_cache<float>(attention, in).view());
    });
    INFO("trial " << trial);
    CHECK(same_bits(run_batch(batch, cache.view(numbers(requests.size()))), alone));
    CHECK(same_bits(run_batch(batch, batch.source()),
                    run_alone(batch, [&](const Inputs<float>& in) { return run(attention, in); })));
  }
}

TEST_CASE("a NaN in one sequence of a ragged batch stays there") {
  Random random;
  Batch batch({{1, 40}, {2, 50}, {30, 60}, {1, 1}}, random);
  const auto before = run_batch(batch, batch.source());
  std::fill_n(batch.value.begin() + 40 * kv_heads * head_dim, 50 * kv_heads * head_dim,
              std::numeric_limits<float>::quiet_NaN());
  const auto after = run_batch(batch, batch.source());
  const Index row = heads * head_dim;
  CHECK(std::equal(after.out.begin(), after.out.begin() + row, before.out.begin()));
  CHECK(std::isnan(after.out[static_cast<std::size_t>(row)]));
  CHECK(std::equal(after.out.begin() + 3 * row, after.out.end(), before.out.begin() + 3 * row));
}

TEST_CASE("a ragged batch of no sequences, or of empty ones, is no work") {
  Random random;
  for (const std::vector<Request>& requests : {std::vector<Request>{}, {{0, 0}, {0, 0}}, {{0, 5}}}) {
    const Batch batch(requests, random);
    CHECK(run_batch(batch, batch.source()).out.empty());
  }
}

TEST_CASE("cu_seqlens that do not describe their tensor are refused") {
  CHECK(refusal({0, 2, 6}, {0, 4, 10}) == "");
  CHECK_THAT(refusal({0, 4, 3, 6}, {0, 4, 4, 10}), contains("dca: cu_seqlens: 3 after 4"));
  CHECK_THAT(refusal({1, 2, 6}, {0, 4, 10}), contains("dca: cu_seqlens: starts with 1"));
  CHECK_THAT(refusal({0, 2, 5}, {0, 4, 10}), contains("dca: cu_seqlens: ends with 5"));
  CHECK_THAT(refusal({0, 2, 7}, {0, 4, 10}), contains("dca: cu_seqlens: ends with 7"));
  CHECK_THAT(refusal({0, 2, 2, 6}, {0, 4, 10}), contains("dca: cu_seqlens: sequences 3; must be that of key, 2"));
  CHECK_THAT(refusal({0, 6}, {0, 4, 10}), contains("dca: cu_seqlens: sequences 1"));
  CHECK_THAT(refusal({0, 2, 6}, {0, 11, 10}), contains("dca: cu_seqlens of key: 10 after 11"));
  CHECK_THAT(refusal({0, 2, 6}, {0, 4, 9}), contains("dca: cu_seqlens of key: ends with 9"));
  CHECK_THAT(refusal({0, 2, 6}, {2, 4, 10}), contains("dca: cu_seqlens of key: starts with 2"));
  CHECK_THAT(refusal({0, 2, 6}, {}), contains("dca: cu_seqlens of key: empty"));
  CHECK_THAT(refusal({0, 5, 6}, {0, 4, 10}), contains("dca: query: 5 rows; must be at most kv_len, 4"));
}

TEST_CASE("a ragged query has no batch, and its keys and values fit together") {
  const std::vector<float> memory(1024);
  std::vector<float> out(512);
  const std::vector<Index> cu{0, 2};
  const auto shaped = [&](const dca::Extents& shape) { return dca::contiguous(memory.data(), shape); };
  CHECK_THROWS_WITH(Ragged(shaped({2, 2, 2, 16}), shaped({2, 2, 2, 16}), cu), contains("dca: key: batch 2"));
  CHECK_THROWS_WITH(Ragged(shaped({2, 2, 16}), shaped({3, 2, 16}), cu), contains("dca: value: length 3"));
  CHECK_THROWS_WITH(Ragged(shaped({2, 2, 16}), shaped({2, 1, 16}), cu), contains("dca: value: kv_heads 1"));
  const Ragged source(shaped({2, 2, 16}), shaped({2, 2, 16}), cu);
  CHECK_THROWS_WITH(make_attention()(Eigen::DefaultDevice{}, shaped({2, 1, 4, 16}), source,
                                     dca::contiguous(out.data(), {2, 1, 4, 16}), {.cu_seqlens = cu}),
                    contains("dca: query: batch 2; must be that of a ragged tensor, 1"));
}
