// Properties of the operators, each against the reference or bit for bit against themselves.
#include "support/catch.hpp"
#include "support/problem.hpp"

using namespace dca_test;
using Attention = dca::DualChunkAttention<float>;

namespace {

template <class T>
std::string check(const Inputs<T>& in, dca::ChunkConfig chunks, Index q_offset) {
  const Ropes ropes = make_ropes(in.sizes.head_dim / 2 * 2);
  const dca::DualChunkAttention<T> attention({.chunks = chunks, .rope = ropes.library});
  const auto expected = reference_of(in, reference::dual_chunk(chunks.chunk_size, chunks.local_window), ropes.reference,
                                     {.q_offset = q_offset});
  return difference(run(attention, in, {.q_offset = q_offset}), expected);
}

/// Rows [first, last) of the queries as a problem of its own.
template <class T>
Inputs<T> rows_of(const Inputs<T>& in, Index first, Index last) {
  Inputs<T> part = in;
  const Index row = in.sizes.heads * in.sizes.head_dim;
  part.sizes.q_len = last - first;
  part.query.assign(in.query.begin() + first * row, in.query.begin() + last * row);
  return part;
}

}  // namespace

TEMPLATE_TEST_CASE("every chunk edge agrees with the definition, one before, at, and one after", "", float, double) {
  for (const dca::ChunkConfig chunks : {dca::ChunkConfig{12, 4}, {150, 22}, {5, 4}, {9, 0}, {70, 40}}) {
    const Index n = chunks.chunk_size - chunks.local_window;
    for (const Index edge : {n, 2 * n, 3 * n}) {
      for (const Index length : {edge - 1, edge, edge + 1}) {
        if (length < 1) continue;
        Random random(static_cast<std::uint64_t>(length));
        const Inputs<TestType> in({1, length, length, 2, 1, 16, 16}, random);
        INFO("chunk_size " << chunks.chunk_size << " local_window " << chunks.local_window << " length " << length);
        CHECK(check(in, chunks, 0) == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("random shapes agree with the definition", "", float, double) {
  Random random;
  for (int trial = 0; trial < 60; ++trial) {
    Sizes s;
    s.batch = random.integer(1, 2);
    s.kv_len = random.integer(1, 400);
    s.q_len = random.integer(1, std::min<Index>(s.kv_len, 150));
    s.kv_heads = random.integer(1, 3);
    s.heads = s.kv_heads * random.integer(1, 5);
    s.head_dim = random.integer(1, 70);
    s.v_head_dim = random.integer(1, 70);
    const Index size = random.integer(1, 200);
    const dca::ChunkConfig chunks{size, random.integer(0, size - 1)};
    const Inputs<TestType> in(s, random);
    const Index q_offset = random.integer(0, s.kv_len - s.q_len);
    INFO("trial " << trial << ": q_len " << s.q_len << " kv_len " << s.kv_len << " heads " << s.heads << "/"
                  << s.kv_heads << " dims " << s.head_dim << "/" << s.v_head_dim << " chunks " << size << "/"
                  << chunks.local_window);
    CHECK(check(in, chunks, q_offset) == "");
  }
}

TEMPLATE_TEST_CASE("at most chunk_len tokens are plain causal attention, bit for bit", "", float, double) {
  for (const Index length : {1, 2, 47, 48, 49, 127, 128, 129, 200}) {
    Random random(static_cast<std::uint64_t>(length));
    const Inputs<TestType> in({1, length, length, 4, 2, 32, 32}, random);
    const auto chunked = make_chunked<dca::DualChunkAttention<TestType>>({300, 100}, 32);
    const dca::CausalAttention<TestType> causal({.rope = make_ropes(32).library});
    CHECK(same_bits(run(chunked, in), run(causal, in)));
    CHECK(difference(run(causal, in), reference_of(in, reference::causal(), make_ropes(32).reference)) == "");
  }
}

TEMPLATE_TEST_CASE("three functors merged are the operator", "", float, double) {
  Random random;
  const Inputs<TestType> in({2, 100, 130, 4, 2, 16, 24}, random);
  const dca::ChunkConfig chunks{20, 4};
  const auto whole = run(make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16), in);
  const auto intra = run(make_chunked<dca::IntraChunkAttention<TestType>>(chunks, 16), in);
  const auto successive = run(make_chunked<dca::SuccessiveChunkAttention<TestType>>(chunks, 16), in);
  const auto inter = run(make_chunked<dca::InterChunkAttention<TestType>>(chunks, 16), in);
  Outputs<TestType> merged(in);
  merge_states({intra.state(), successive.state(), inter.state()}, merged);
  const double bound = weight_bound<TestType>({});
  for (std::size_t k = 0; k < whole.out.size(); ++k) CHECK(std::abs(double(whole.out[k] - merged.out[k])) <= bound);
  for (std::size_t k = 0; k < whole.lse.size(); ++k) CHECK(std::abs(double(whole.lse[k] - merged.lse[k])) <= 4 * bound);
}

TEMPLATE_TEST_CASE("a part without keys is 0 and -inf, and merging such states gives no NaN", "", float, double) {
  Random random;
  const Inputs<TestType> in({1, 8, 8, 1, 1, 4, 4}, random);
  const auto inter = run(make_chunked<dca::InterChunkAttention<TestType>>({12, 4}, 4), in);
  for (const TestType x : inter.out) CHECK(x == 0);
  for (const TestType x : inter.lse) CHECK(x == -std::numeric_limits<TestType>::infinity());
  Outputs<TestType> merged(in);
  merge_states({inter.state(), inter.state()}, merged);
  CHECK(same_bits(merged, inter));
}

TEMPLATE_TEST_CASE("any split of the queries gives the same rows", "", float, double) {
  Random random;
  const Inputs<TestType> in({1, 150, 150, 2, 1, 16, 16}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>({40, 8}, 16);
  const auto whole = run(attention, in);
  for (Index first = 0; first < 150;) {
    const Index last = std::min<Index>(150, first + random.integer(1, 60));
    const auto part = run(attention, rows_of(in, first, last), {.q_offset = first});
    for (std::size_t k = 0; k < part.out.size(); ++k) {
      CHECK(std::abs(double(part.out[k] - whole.out[k + static_cast<std::size_t>(first * 32)])) <=
            weight_bound<TestType>({}));
    }
    first = last;
  }
}

TEMPLATE_TEST_CASE("the same bits for any number of threads, any batch and any order of heads", "", float, double) {
  Random random;
  const Inputs<TestType> in({2, 300, 300, 4, 4, 16, 16}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>({80, 16}, 16);
  const auto alone = run(attention, in);
  for (const int threads : {1, 2, 3, 8}) CHECK(same_bits(alone, run_threaded(attention, in, threads)));

  // Batch entry 1 by itself, and the heads in reverse.
  const std::size_t half = in.query.size() / 2;
  Inputs<TestType> second = in, reversed = in;
  second.sizes.batch = 1;
  for (auto* x : {&second.query, &second.key, &second.value})
    x->erase(x->begin(), x->begin() + static_cast<Index>(half));
  const auto single = run(attention, second);
  CHECK(std::equal(single.out.begin(), single.out.end(), alone.out.begin() + static_cast<Index>(half)));
  const auto reverse_heads = [](std::vector<TestType>& x) {
    for (std::size_t row = 0; row < x.size(); row += 64) {
      for (std::size_t d = 0; d < 32; ++d) std::swap(x[row + d], x[row + (3 - d / 16) * 16 + d % 16]);
    }
  };
  for (auto* x : {&reversed.query, &reversed.key, &reversed.value}) reverse_heads(*x);
  auto back = run(attention, reversed);
  reverse_heads(back.out);
  CHECK(same_bits(back.out, alone.out));
}

TEMPLATE_TEST_CASE("threads that share a sequence, wherever it is cut, give the same bits", "", float, double) {
  Random random;
  const Inputs<TestType> in({1, 320, 320, 6, 1, 16, 16}, random);
  // Chunks end within tiles of keys; blocks of rows begin with any of them.
  for (const dca::ChunkConfig chunks : {dca::ChunkConfig{100, 10}, {230, 31}, {50, 1}}) {
    const auto attention = make_chunked<dca::DualChunkAttention<TestType>>(chunks, 16);
    const auto alone = run(attention, in);
    for (const int threads : {2, 3, 8}) {
      INFO("chunk_size " << chunks.chunk_size << " threads " << threads);
      CHECK(same_bits(alone, run_threaded(attention, in, threads)));
    }
  }
}

TEMPLATE_TEST_CASE("constant values come out as they are", "", float, double) {
  Random random;
  Inputs<TestType> in({1, 200, 200, 2, 1, 16, 5}, random);
  std::fill(in.value.begin(), in.value.end(), TestType(0.75));
  for (const TestType x : run(make_chunked<dca::DualChunkAttention<TestType>>({48, 16}, 16), in).out) {
    CHECK(x == Approx(0.75).epsilon(weight_bound<TestType>({})));
  }
}

TEST_CASE("constant values come out as they are, however many keys share the weight") {
  constexpr Index kv_len = 400000;
  // What is added to sums of values and of weights is nearly the same each time, so that each addition may be rounded
  // the same way, by up to half a unit. Many rows add tiles of 128 keys; a single one adds tiles of 512 within each of
  // up to 64 pieces, and these. Key by key, errors would be many times as large.
  const auto additions = [](Index q_len) { return q_len == 1 ? kv_len / 64 / 512 + 1 + 64 : kv_len / 128; };
  Random random;
  for (const Index q_len : {1, 40}) {
    Inputs<float> in({1, q_len, kv_len, 1, 1, 2, 1}, random, 0.01);
    std::fill(in.value.begin(), in.value.end(), 0.2f);
    const double bound = 2 * double(additions(q_len)) * double(std::numeric_limits<float>::epsilon()) / 2;
    for (const float x : run(make_chunked<Attention>({6144, 1024}, 2), in).out) {
      CHECK(std::abs(double(x) - double(0.2f)) <= 0.2 * bound);
    }
  }
}

TEMPLATE_TEST_CASE("what a query may not see cannot reach it, not even NaN or infinity", "", float, double) {
  Random random;
  const Inputs<TestType> in({1, 140, 140, 1, 1, 16, 16}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>({64, 16}, 16);
  const auto before = run(attention, in);
  const TestType infinity = std::numeric_limits<TestType>::infinity();
  for (const TestType poison : {std::numeric_limits<TestType>::quiet_NaN(), infinity, -infinity, TestType(1000)}) {
    for (const Index token : {1, 47, 48, 90, 139}) {
      Inputs<TestType> changed = in;
      std::fill_n(changed.key.begin() + token * 16, 16, poison);
      std::fill_n(changed.value.begin() + token * 16, 16, poison);
      const auto after = run(attention, changed);
      INFO("token " << token << " poison " << poison);
      CHECK(std::equal(after.out.begin(), after.out.begin() + token * 16, before.out.begin()));
      CHECK(std::equal(after.lse.begin(), after.lse.begin() + token, before.lse.begin()));
      CHECK_FALSE(std::equal(after.out.begin() + token * 16, after.out.end(), before.out.begin() + token * 16));
    }
  }
}

TEMPLATE_TEST_CASE("the first key beyond what a part sees cannot reach it", "", float, double) {
  // Chunks of 7 tokens, so that rows of chunk c see 7 * (c - 1) keys: all of them, whatever that leaves of a tile.
  constexpr Index chunk = 7, chunks = 8, heads = 16, features = 16;
  Random random;
  const Inputs<TestType> in({1, chunk * chunks, chunk * chunks, heads, 1, features, features}, random);
  const auto attention = make_chunked<dca::InterChunkAttention<TestType>>({chunk + 1, 1}, features);
  const auto before = run(attention, in);
  for (const TestType poison : {std::numeric_limits<TestType>::quiet_NaN(), TestType(1000), TestType(-1000)}) {
    for (Index c = 2; c < chunks; ++c) {
      Inputs<TestType> changed = in;
      const Index beyond = chunk * (c - 1) * features;
      std::fill_n(changed.key.begin() + beyond, features, poison);
      std::fill_n(changed.value.begin() + beyond, features, poison);
      const auto after = run(attention, changed);
      const Index last = chunk * (c + 1) * heads;
      INFO("chunk " << c << " poison " << poison);
      CHECK(std::equal(after.out.begin(), after.out.begin() + last * features, before.out.begin()));
      CHECK(std::equal(after.lse.begin(), after.lse.begin() + last, before.lse.begin()));
    }
  }
}

TEMPLATE_TEST_CASE("a visible NaN or infinity travels as in the definition", "", float, double) {
  Random random;
  const TestType infinity = std::numeric_limits<TestType>::infinity();
  for (const TestType poison : {std::numeric_limits<TestType>::quiet_NaN(), infinity}) {
    Inputs<TestType> in({1, 30, 30, 1, 1, 8, 8}, random);
    in.value[10 * 8 + 3] = poison;
    const Ropes ropes = make_ropes(8);
    const dca::DualChunkAttention<TestType> attention({.chunks = dca::ChunkConfig{12, 4}, .rope = ropes.library});
    CHECK(difference(run(attention, in), reference_of(in, reference::dual_chunk(12, 4), ropes.reference)) == "");
    in.key[5 * 8] = std::numeric_limits<TestType>::quiet_NaN();
    CHECK(difference(run(attention, in), reference_of(in, reference::dual_chunk(12, 4), ropes.reference)) == "");
  }
}

TEMPLATE_TEST_CASE("grouped heads are repeated heads, bit for bit", "", float, double) {
  Random random;
  const Inputs<TestType> grouped({1, 90, 90, 6, 2, 16, 16}, random);
  Inputs<TestType> repeated = grouped;
  repeated.sizes.kv_heads = 6;
  const auto repeat = [](const std::vector<TestType>& x) {
    std::vector<TestType> y;
    for (std::size_t head = 0; head < x.size() / 16; ++head) {
      for (int k = 0; k < 3; ++k)
        y.insert(y.end(), x.begin() + static_cast<Index>(head * 16), x.begin() + static_cast<Index>(head * 16 + 16));
    }
    return y;
  };
  repeated.key = repeat(grouped.key);
  repeated.value = repeat(grouped.value);
  const auto attention = make_chunked<dca::DualChunkAttention<TestType>>({24, 8}, 16);
  CHECK(same_bits(run(attention, grouped), run(attention, repeated)));
}

TEMPLATE_TEST_CASE("sinks, soft-cap and scale enter in their usual order", "", float, double) {
  Random random;
  const Inputs<TestType> in({1, 70, 70, 4, 2, 16, 16}, random, 4.0);
  const std::vector<TestType> sinks = random.normal<TestType>(4, 2.0);
  const Ropes ropes = make_ropes(8, 10000.0, 1.3);
  const dca::DualChunkAttention<TestType> attention(
      {.chunks = dca::ChunkConfig{24, 8}, .rope = ropes.library, .softmax_scale = 0.4, .logit_softcap = 6.0});
  const auto expected =
      reference_of(in, reference::dual_chunk(24, 8), ropes.reference,
                   {.softmax_scale = 0.4, .logit_softcap = 6.0, .sinks = {sinks.begin(), sinks.end()}});
  CHECK(difference(run(attention, in, {.sink_logits = sinks}), expected) == "");
  CHECK(difference(run_threaded(attention, in, 3, {.sink_logits = std::span<const TestType>(sinks)}), expected) == "");
}

TEST_CASE("no queries are no work, and lse may be left out") {
  Random random;
  const Inputs<float> in({1, 0, 20, 2, 1, 8, 8}, random);
  CHECK(run(make_chunked<Attention>({12, 4}, 8), in).out.empty());
  const Inputs<float> some({1, 20, 20, 2, 1, 8, 8}, random);
  Outputs<float> without(some);
  const Operands<float> x = some.operands();
  make_chunked<Attention>({12, 4}, 8)(Eigen::DefaultDevice{}, x.query, x.key, x.value, without.out_view());
  CHECK(same_bits(without.out, run(make_chunked<Attention>({12, 4}, 8), some).out));
}

TEST_CASE("kernel_info tells what the kernels at work were compiled for") {
  const dca::KernelInfo info = dca::kernel_info();
  CHECK(std::string(info.instruction_set).size() > 2);
  CHECK(info.float_packet_size >= info.double_packet_size);
  CHECK(info.float_register_tile.columns % info.float_packet_size == 0);
  CHECK(info.double_register_tile.rows >= 1);
}
