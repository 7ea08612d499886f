// Few queries on many keys: the streamed products, and the places where keys are cut.
#include <dca/kernel/plan/call_plan.hpp>

#include <cstring>

#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/counting_allocator.hpp"

using namespace dca_test;

namespace {

constexpr dca::ChunkConfig chunks{700, 150};

/// A problem in a contiguous cache against the definition.
template <class T>
std::string check(const Inputs<T>& in, Index rotary_dim) {
  const Ropes ropes = make_ropes(rotary_dim);
  const dca::DualChunkAttention<T> attention({.chunks = chunks, .rope = ropes.library});
  return difference(run_on(attention, in, filled_cache<T>(attention, in).view()),
                    dual_chunk_reference(in, chunks, ropes.reference));
}

/// Bytes of scratch that a call takes.
std::size_t scratch(const Inputs<float>& in, int threads) {
  const auto attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 2);
  const auto cache = filled_cache<float>(attention, in);
  CountingAllocator allocator;
  Eigen::ThreadPool pool(threads);
  run_on(attention, in, cache.view(), {}, Eigen::ThreadPoolDevice(&pool, threads, &allocator));
  return allocator.largest;
}

/// One sequence and kv_head in two pieces of memory that touch: the rows of the first lie apart, those of the second do
/// not, as where a prompt's rows stand in a model's own layout and later ones are appended.
struct TwoStrides {
  using Key = float;
  using Value = float;
  using KeyPlacement = dca::ChunkOffset;
  static constexpr Index dim = 16, stride = 40;
  Index first_count, count;
  dca::PlacedKeys<KeyPlacement> placed;
  std::vector<float> key_memory = room(), value_memory = room();

  std::vector<float> room() const {
    return std::vector<float>(static_cast<std::size_t>(first_count * stride + (count - first_count) * dim));
  }
  Index offset(Index row) const {
    return row < first_count ? row * stride : first_count * stride + (row - first_count) * dim;
  }
  dca::RowRun<float> run(const std::vector<float>& from, Index row) const {
    const bool first = row < first_count;
    return {from.data() + offset(row), first ? stride : dim, (first ? first_count : count) - row};
  }
  dca::RowRun<float> keys(Index, Index, Index row) const { return run(key_memory, row); }
  dca::RowRun<float> values(Index, Index, Index row) const { return run(value_memory, row); }
  Index sequences() const { return 1; }
  Index length(Index) const { return count; }
  Index kv_heads() const { return 1; }
  Index head_dim() const { return dim; }
  Index v_head_dim() const { return dim; }
  const dca::PlacedKeys<KeyPlacement>& placement() const { return placed; }
};

}  // namespace

TEST_CASE("rows of two strides that touch in memory are read by their own") {
  Random random;
  const Ropes ropes = make_ropes(16);
  const dca::DualChunkAttention<float> attention({.chunks = chunks, .rope = ropes.library});
  const Inputs<float> in({1, 1, 900, 2, 1, 16, 16}, random);
  const auto cache = filled_cache<float>(attention, in);
  const auto view = cache.view();
  for (const Index first_count : {1, 16, 500, 511, 512, 513}) {
    TwoStrides source{first_count, 900, view.placement()};
    for (Index row = 0; row < source.count; ++row) {
      std::copy_n(view.keys(0, 0, row).data, 16, source.key_memory.data() + source.offset(row));
      std::copy_n(view.values(0, 0, row).data, 16, source.value_memory.data() + source.offset(row));
    }
    INFO("first " << first_count);
    Outputs<float> out(in);
    attention(Eigen::DefaultDevice{}, in.operands().query, source, out.out_view());
    CHECK(same_bits(out.out, run_on(attention, in, view).out));
  }
}

TEMPLATE_TEST_CASE("decoding agrees with the definition around every place where keys are cut", "", float, double) {
  for (const Index kv_len : {1, 127, 128, 129, 1023, 1024, 1025, 1151, 1152, 2047, 2048, 2049}) {
    for (const Index q_len : {1, 3}) {
      if (q_len > kv_len) continue;
      Random random(static_cast<std::uint64_t>(kv_len));
      const Inputs<TestType> in({1, q_len, kv_len, 2, 1, 16, 16}, random);
      INFO("q_len " << q_len << " kv_len " << kv_len);
      CHECK(check(in, 16) == "");
    }
  }
}

TEMPLATE_TEST_CASE("pieces of keys that grow beyond 64 * 1024 tokens agree with the definition", "", float, double) {
  for (const Index kv_len : {65535, 65536, 65537, 70001}) {
    Random random(static_cast<std::uint64_t>(kv_len));
    const Inputs<TestType> in({1, 2, kv_len, 1, 1, 2, 2}, random);
    INFO("kv_len " << kv_len);
    CHECK(check(in, 2) == "");
  }
}

TEST_CASE("keys are cut into at most 64 pieces that cover them, at multiples of a tile") {
  for (Index keys = 1; keys < 400000; keys += 1 + keys / 100) {
    const dca::detail::QueryTokens tokens{0, 0, 1, keys - 1};
    Index pieces = 0, last = 0;
    for (; last < keys; ++pieces) {
      const dca::KeyRange piece = dca::detail::CallPlan::keys_of(tokens, pieces);
      REQUIRE(piece.first == last);
      REQUIRE(piece.first % dca::detail::key_tile == 0);
      REQUIRE(piece.last > piece.first);
      last = piece.last;
    }
    REQUIRE(last == keys);
    REQUIRE(pieces <= 64);
  }
}

TEMPLATE_TEST_CASE("speculative queries are causal among themselves, whichever products serve them", "", float,
                   double) {
  const Ropes ropes = make_ropes(16);
  const dca::DualChunkAttention<TestType> attention({.chunks = chunks, .rope = ropes.library});
  for (const Index group : {1, 3}) {
    Random random(static_cast<std::uint64_t>(group));
    // The last tokens stand on both sides of a chunk's edge.
    const Inputs<TestType> in({1, 18, 1110, group, 1, 16, 16}, random);
    const auto cache = filled_cache<TestType>(attention, in);
    const auto expected = dual_chunk_reference(in, chunks, ropes.reference);
    for (Index q_len = 1; q_len <= 18; ++q_len) {
      const auto part = entry_of(in, 0, q_len, 1110);
      const auto actual = run_on(attention, part, cache.view());
      const std::size_t skipped = expected.out.data.size() - actual.out.size();
      const Array rows(
          {1, q_len, group, 16},
          std::vector<double>(expected.out.data.begin() + static_cast<Index>(skipped), expected.out.data.end()));
      INFO("group " << group << " q_len " << q_len);
      CHECK(largest_error(actual.out, rows) <= out_bound<TestType>({}, 1.0));
    }
  }
}

TEMPLATE_TEST_CASE("NaN in a later speculative token does not reach an earlier one", "", float, double) {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  for (const Index kv_len : {555, 1100, 1026}) {
    const Inputs<TestType> in({1, 6, kv_len, 2, 1, 16, 16}, random);
    const auto expected = run_on(attention, in, filled_cache<TestType>(attention, in).view());
    for (Index later = 1; later < 6; ++later) {
      Inputs<TestType> changed = in;
      const Index token = kv_len - 6 + later;
      std::fill_n(changed.key.begin() + token * 16, 16, std::numeric_limits<TestType>::quiet_NaN());
      std::fill_n(changed.value.begin() + token * 16, 16, std::numeric_limits<TestType>::infinity());
      const auto actual = run_on(attention, changed, filled_cache<TestType>(attention, changed).view());
      CHECK(std::equal(actual.out.begin(), actual.out.begin() + later * 32, expected.out.begin()));
      CHECK(std::isnan(actual.out[static_cast<std::size_t>(later * 32)]));
    }
  }
}

TEMPLATE_TEST_CASE("heads of a group decode as heads with keys of their own, bit for bit", "", float, double) {
  for (const Index group : {1, 2, 3, 4, 5, 7, 8, 16, 17}) {
    Random random(static_cast<std::uint64_t>(group));
    const Inputs<TestType> in({1, 1, 1300, 2 * group, 2, 24, 16}, random);
    const Ropes ropes = make_ropes(24);
    const dca::DualChunkAttention<TestType> attention({.chunks = chunks, .rope = ropes.library});
    const auto cache = filled_cache<TestType>(attention, in);
    const auto together = run_on(attention, in, cache.view());
    INFO("group " << group);
    CHECK(difference(together, dual_chunk_reference(in, chunks, ropes.reference)) == "");
    if (group > 16) continue;  // packed
    for (Index head = 0; head < group; ++head) {
      Inputs<TestType> single = in;
      single.sizes.heads = 2;  // one of each group
      single.query.clear();
      for (const Index h : {head, group + head}) {
        single.query.insert(single.query.end(), in.query.begin() + h * 24, in.query.begin() + (h + 1) * 24);
      }
      const auto alone = run_on(attention, single, cache.view());
      CHECK(std::equal(alone.out.begin(), alone.out.begin() + 16, together.out.begin() + head * 16));
      CHECK(std::equal(alone.out.begin() + 16, alone.out.end(), together.out.begin() + (group + head) * 16));
    }
  }
}

TEMPLATE_TEST_CASE("any dims, whole packets or not, agree with the definition", "", float, double) {
  const std::pair<Index, Index> dims[] = {{1, 1},   {2, 5},    {16, 40}, {17, 16}, {33, 64},
                                          {130, 7}, {64, 128}, {80, 80}, {16, 100}};
  for (const auto& [head_dim, v_head_dim] : dims) {
    for (const auto& [q_len, heads] : {std::pair<Index, Index>{1, 2}, {1, 4}, {5, 4}, {12, 4}}) {
      Random random(static_cast<std::uint64_t>(head_dim * q_len));
      const Inputs<TestType> in({1, q_len, 600, heads, 2, head_dim, v_head_dim}, random);
      INFO("q_len " << q_len << " heads " << heads << " dims " << head_dim << "/" << v_head_dim);
      CHECK(check(in, head_dim / 2 * 2) == "");
    }
  }
}

TEMPLATE_TEST_CASE("sinks, soft-cap, scale, attention factor, partial rotary and pairing hold through caches", "",
                   float, double) {
  for (const bool interleaved : {false, true}) {
    for (const Index rotary_dim : {0, 6, 16}) {
      for (const Index q_len : {1, 4, 60}) {
        Random random(static_cast<std::uint64_t>(rotary_dim + q_len));
        const Inputs<TestType> in({1, q_len, 1400, 4, 2, 16, 16}, random, 3.0);
        const std::vector<TestType> sinks = random.normal<TestType>(4, 2.0);
        const Ropes ropes = make_ropes(rotary_dim, 10000.0, 1.3, interleaved);
        const dca::DualChunkAttention<TestType> attention(
            {.chunks = chunks, .rope = ropes.library, .softmax_scale = 0.4, .logit_softcap = 6.0});
        const auto expected =
            dual_chunk_reference(in, chunks, ropes.reference,
                                 {.softmax_scale = 0.4, .logit_softcap = 6.0, .sinks = {sinks.begin(), sinks.end()}});
        const auto cache = filled_cache<TestType>(attention, in);
        INFO("interleaved " << interleaved << " rotary_dim " << rotary_dim << " q_len " << q_len);
        CHECK(difference(run_on(attention, in, cache.view(), {.sink_logits = sinks}), expected) == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("decoding gives the same bits for any number of threads", "", float, double) {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  for (const Index q_len : {1, 4, 40}) {
    const Inputs<TestType> in({3, q_len, 3000, 4, 2, 16, 16}, random);
    const auto cache = filled_cache<TestType>(attention, in);
    const auto expected = run_on(attention, in, cache.view());
    for (const int threads : {1, 2, 3, 8}) {
      Eigen::ThreadPool pool(threads);
      INFO("q_len " << q_len << " threads " << threads);
      CHECK(same_bits(run_on(attention, in, cache.view(), {}, Eigen::ThreadPoolDevice(&pool, threads)), expected));
    }
  }
}

TEMPLATE_TEST_CASE("a sequence decodes to the same bits in any batch", "", float, double) {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
  const std::vector<Index> lengths{2500, 3, 1024, 1, 1500};
  const Inputs<TestType> in({5, 1, 2500, 4, 2, 16, 16}, random);
  auto cache = attention.template make_cache<TestType>(cache_shape(in.sizes), 5, {.tokens = 2500});
  for (Index b = 0; b < 5; ++b) append_tokens(cache, b, in, b, 0, lengths[static_cast<std::size_t>(b)]);
  const auto all = run_on(attention, in, cache.view());
  for (Index b = 0; b < 5; ++b) {
    const auto part = entry_of(in, b, 1, lengths[static_cast<std::size_t>(b)]);
    const std::vector<Index> only{b};
    const auto alone = run_on(attention, part, cache.view(only));
    CHECK(std::equal(alone.out.begin(), alone.out.end(), all.out.begin() + b * 64));
    CHECK(std::equal(alone.lse.begin(), alone.lse.end(), all.lse.begin() + b * 4));
  }
}

TEMPLATE_TEST_CASE("what a workspace holds from other calls does not reach a result", "", float, double) {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 14);
  dca::Workspace workspace;
  for (const Index q_len : {60, 1, 5, 200, 3}) {
    const Inputs<TestType> in({2, q_len, 1300, 4, 2, 18, 19}, random);
    const auto cache = filled_cache<TestType>(attention, in);
    const auto expected = run_on(attention, in, cache.view());
    CHECK(same_bits(run_on(attention, in, cache.view(), {.workspace = &workspace}), expected));
    std::memset(workspace.reserve(workspace.bytes()), 0xff, static_cast<std::size_t>(workspace.bytes()));  // NaN
    CHECK(same_bits(run_on(attention, in, cache.view(), {.workspace = &workspace}), expected));
  }
}

TEMPLATE_TEST_CASE("rows of every number agree with the definition, with the same bits for any number of threads", "",
                   float, double) {
  // On both sides of where rows are streamed, packed with their keys in pieces, the last few of them streamed, and cut
  // into blocks of rows.
  const Ropes ropes = make_ropes(16);
  const dca::DualChunkAttention<TestType> attention({.chunks = chunks, .rope = ropes.library});
  Eigen::ThreadPool pool(3);
  for (const auto& [q_len, group] : {std::pair<Index, Index>{1, 16},
                                     {17, 1},
                                     {1, 23},
                                     {24, 1},
                                     {25, 1},
                                     {13, 2},
                                     {1, 32},
                                     {9, 7},
                                     {1, 33},
                                     {8, 5},
                                     {41, 1},
                                     {7, 8},
                                     {64, 1},
                                     {1, 64},
                                     {65, 1},
                                     {5, 13}}) {
    for (const Index kv_len : {1024, 1025, 2500}) {
      Random random(static_cast<std::uint64_t>(q_len * 100 + group));
      const Inputs<TestType> in({2, q_len, kv_len, 2 * group, 2, 18, 19}, random);
      const auto cache = filled_cache<TestType>(attention, in);
      const auto actual = run_on(attention, in, cache.view());
      INFO("q_len " << q_len << " group " << group << " kv_len " << kv_len);
      CHECK(difference(actual, dual_chunk_reference(in, chunks, ropes.reference)) == "");
      CHECK(same_bits(run_on(attention, in, cache.view(), {}, Eigen::ThreadPoolDevice(&pool, 3)), actual));
    }
  }
}

TEST_CASE("queries may stand before the last key of their cache") {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<float>>(chunks, 16);
  const Inputs<float> in({1, 3, 1500, 2, 1, 16, 16}, random);
  const auto cache = filled_cache<float>(attention, in);
  for (const Index q_offset : {0, 1, 549, 550, 1022, 1400}) {
    const auto expected =
        reference_of(in, reference::dual_chunk(700, 150), make_ropes(16).reference, {.q_offset = q_offset});
    INFO("q_offset " << q_offset);
    CHECK(difference(run_on(attention, in, cache.view(), {.q_offset = q_offset}), expected) == "");
  }
}

TEST_CASE("scratch of a long decode is at most 64 partial states a row, and a constant a thread") {
  Random random;
  const auto bytes = [&](Index kv_len, int threads) {
    return scratch(Inputs<float>({1, 1, kv_len, 8, 1, 2, 2}, random), threads);
  };
  const std::size_t width = static_cast<std::size_t>(dca::kernel_info().float_packet_size) + 2;
  const std::size_t states = 64 * 8 * (width * sizeof(float) + 8), one_piece = bytes(1000, 1);
  CHECK(bytes(64 * 1024, 1) <= one_piece + states);
  CHECK(bytes(300000, 1) <= one_piece + states);
  CHECK(bytes(300000, 2) <= 2 * one_piece + states);
  // The most rows whose keys are cut into pieces; one more, and there are no states.
  const auto of_rows = [&](Index heads, Index kv_len) {
    return scratch(Inputs<float>({1, 1, kv_len, heads, 1, 2, 2}, random), 1);
  };
  const std::size_t packed = of_rows(64, 1000);
  CHECK(of_rows(64, 300000) <= packed + 64 * 64 * (width * sizeof(float) + 8));
  CHECK(of_rows(65, 300000) <= packed + 8192);
}
