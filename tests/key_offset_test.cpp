// Caches that store keys less an offset: attention does not notice, however they are read.
#include "support/catch.hpp"
#include "support/selecting.hpp"

using namespace dca_test;

namespace {

constexpr dca::ChunkConfig chunks{600, 90};  // chunk_len 510: positions of a chunk lie in two blocks of 256 angles

/// A problem whose keys have a bias: a few pairs that turn by half and by neighbours, features that do not turn, and
/// one of each kv_head's own.
template <class T>
struct Biased {
  Inputs<T> in;
  std::vector<T> offset;

  Biased(const Sizes& sizes, Random& random, double size = 20.0) : in(sizes, random) {
    const Index head_dim = sizes.head_dim;
    offset.assign(static_cast<std::size_t>(sizes.kv_heads * head_dim), T{0});
    for (Index head = 0; head < sizes.kv_heads; ++head) {
      for (const Index d : {Index{1}, Index{2}, head_dim / 2 + 1, head_dim - 1, (3 + 5 * head) % head_dim}) {
        offset[static_cast<std::size_t>(head * head_dim + d)] = static_cast<T>((d % 2 == 0 ? 1 : -0.7) * size);
      }
    }
    for (std::size_t k = 0; k < in.key.size(); ++k) in.key[k] += offset[k % offset.size()];
  }

  dca::TensorView<const T> view() const {
    return dca::contiguous(offset.data(), {in.sizes.kv_heads, in.sizes.head_dim});
  }
};

/// A contiguous cache of a problem's tokens, batch entry b in sequence b, that has its offset.
template <class K, class V = K, class Attention, class T>
auto offset_cache(const Attention& attention, const Biased<T>& biased, Index summary_block = 0) {
  const Inputs<T>& in = biased.in;
  dca::CacheShape shape = cache_shape(in.sizes);
  shape.summary_block = summary_block;
  auto cache = attention.template make_cache<K, V>(shape, in.sizes.batch, {.tokens = in.sizes.kv_len});
  cache.set_key_offset(biased.view());
  cache.append(Eigen::DefaultDevice{}, in.operands().key, in.operands().value);
  return cache;
}

/// What keys of that bias make of rounding errors.
template <class T>
Magnitudes magnitudes_of(const Inputs<T>& in, const reference::Rope& rope) {
  const double scale = 1 / std::sqrt(static_cast<double>(in.sizes.head_dim));
  return {.largest_logit = reference::largest_logit(to_array(in.query, in.query_shape()),
                                                    to_array(in.key, in.key_shape()), rope, scale)};
}

dca::DualChunkAttention<float> make_attention(Index rotary_dim = 16) {
  return make_chunked<dca::DualChunkAttention<float>>(chunks, rotary_dim);
}

/// Two parts that place keys differently: caches hold them unrotated.
struct Shifted {
  using Layout = dca::ChunkLayout;
  static Index query_position(const dca::ChunkLayout&, Index i) { return i + 3; }
  static Index key_position(const dca::ChunkLayout&, Index j) { return j + 1; }
  static dca::KeyRange keys(const dca::ChunkLayout& layout, Index i) {
    return {std::max<Index>(i - i % layout.chunk_len() - layout.chunk_len(), 0), i + 1};
  }
};
using Unplaced = dca::ComposedAttention<float, dca::InterChunk, Shifted>;

/// A placement that does not say how its positions run: backwards in groups of three.
struct InThrees {
  using Layout = dca::Unchunked;
  static Index position(const Layout&, Index j) { return j / 3 * 3 + 2 - j % 3; }
};
struct ByThrees {
  using Layout = dca::Unchunked;
  using KeyPlacement = InThrees;
  static Index query_position(const Layout&, Index i) { return i; }
  static Index key_position(const Layout& layout, Index j) { return InThrees::position(layout, j); }
  static dca::KeyRange keys(const Layout&, Index i) { return {0, i + 1}; }
};

}  // namespace

TEMPLATE_TEST_CASE("keys stored less an offset give what the definition gives", "", float, double) {
  Random random;
  for (const bool interleaved : {false, true}) {
    for (const auto& [head_dim, rotary_dim] : {std::pair<Index, Index>{16, 16}, {32, 24}, {33, 24}, {40, 0}}) {
      const Ropes ropes = make_ropes(rotary_dim, 10000.0, 1.0, interleaved);
      const dca::DualChunkAttention<TestType> attention({.chunks = chunks, .rope = ropes.library});
      // On both sides of a block of angles and of a chunk's edge.
      for (const auto& [q_len, kv_len] :
           {std::pair<Index, Index>{1, 255}, {1, 257}, {3, 511}, {9, 767}, {1, 1300}, {30, 1021}, {100, 600}}) {
        const Biased<TestType> biased({1, q_len, kv_len, 2, 2, head_dim, 16}, random);
        INFO("head_dim " << head_dim << " rotary_dim " << rotary_dim << " interleaved " << interleaved << " q_len "
                         << q_len << " kv_len " << kv_len);
        const auto actual = run_on(attention, biased.in, offset_cache<TestType>(attention, biased).view());
        CHECK(difference(actual, dual_chunk_reference(biased.in, chunks, ropes.reference),
                         magnitudes_of(biased.in, ropes.reference)) == "");
      }
    }
  }
}

TEMPLATE_TEST_CASE("offsets turn on where no chunk begins anew", "", float, double) {
  Random random;
  const Ropes ropes = make_ropes(16);
  const dca::CausalAttention<TestType> attention({.rope = ropes.library});
  for (const Index q_len : {1, 130}) {
    const Biased<TestType> biased({1, q_len, 2900, 2, 2, 16, 16}, random);
    INFO("q_len " << q_len);
    const auto actual = run_on(attention, biased.in, offset_cache<TestType>(attention, biased).view());
    CHECK(difference(actual,
                     reference_of(biased.in, reference::causal(), ropes.reference,
                                  {.q_offset = biased.in.sizes.kv_len - q_len}),
                     magnitudes_of(biased.in, ropes.reference)) == "");
  }
}

TEST_CASE("unrotated keys and positions without runs have offsets as well") {
  Random random;
  const Ropes ropes = make_ropes(16);
  for (const Index q_len : {1, 5, 70}) {
    const Biased<float> biased({2, q_len, 620, 4, 2, 32, 32}, random);
    const Inputs<float>& in = biased.in;
    const Unplaced unplaced({.chunks = dca::ChunkConfig{200, 40}, .rope = ropes.library});
    const auto from_tensors = run(unplaced, in, {.q_offset = in.sizes.kv_len - q_len});
    const reference::Result expected{to_array(from_tensors.out, in.out_shape()),
                                     to_array(from_tensors.lse, in.lse_shape())};
    INFO("q_len " << q_len);
    const Magnitudes magnitudes = magnitudes_of(in, ropes.reference);
    CHECK(difference(run_on(unplaced, in, offset_cache<float>(unplaced, biased).view()), expected, magnitudes) == "");
    const dca::ComposedAttention<float, ByThrees> threes({.rope = ropes.library});
    const auto positions = [](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
      if (j > i) return std::nullopt;
      return reference::Positions{i, j / 3 * 3 + 2 - j % 3};
    };
    CHECK(difference(run_on(threes, in, offset_cache<float>(threes, biased).view()),
                     reference_of(in, positions, ropes.reference, {.q_offset = in.sizes.kv_len - q_len}),
                     magnitudes) == "");
  }
}

TEMPLATE_TEST_CASE("an offset of zeros changes no bit", "", float, Eigen::half, dca::Int8, dca::Int4) {
  Random random;
  const auto attention = make_attention();
  for (const Index q_len : {1, 50}) {
    Biased<float> biased({2, q_len, 600, 4, 2, 32, 32}, random);
    std::fill(biased.offset.begin(), biased.offset.end(), 0.0F);
    CHECK(same_bits(run_on(attention, biased.in, offset_cache<TestType>(attention, biased).view()),
                    run_on(attention, biased.in, filled_cache<TestType>(attention, biased.in).view())));
  }
}

TEMPLATE_TEST_CASE("bits with an offset depend on no blocks, pieces, threads, batch or copies", "", float, Eigen::half,
                   dca::Int8, dca::Int4) {
  Random random;
  const auto attention = make_attention();
  constexpr Index kv_len = 1100;
  for (const Index q_len : {1, 6, 90}) {
    const Biased<float> biased({2, q_len, kv_len, 4, 2, 32, 32}, random);
    const Inputs<float>& in = biased.in;
    const auto expected = run_on(attention, in, offset_cache<TestType>(attention, biased).view());
    INFO("q_len " << q_len);

    auto grown = attention.make_cache<TestType>(cache_shape(in.sizes), 2, {.tokens = 1, .grows = true});
    grown.set_key_offset(biased.view());
    for (const Index b : {0, 1}) {
      for (Index first = 0; first < kv_len;) {
        const Index count = std::min(kv_len - first, random.integer(1, 300));
        append_tokens(grown, b, in, b, first, count);
        first += count;
      }
      grown.truncate(b, 700);
      append_tokens(grown, b, in, b, 700, kv_len - 700);
    }
    CHECK(same_bits(run_on(attention, in, grown.view()), expected));
    Eigen::ThreadPool pool(3);
    CHECK(same_bits(run_on(attention, in, grown.view(), {}, Eigen::ThreadPoolDevice(&pool, 3)), expected));
    const auto alone = entry_of(in, 1, q_len, kv_len);
    const std::vector<Index> second{1};
    const auto of_second = run_on(attention, alone, grown.view(second));
    CHECK(std::equal(of_second.out.begin(), of_second.out.end(), expected.out.end() - std::ssize(of_second.out)));

    for (const Index block_size : {1, 48, 256, 2000}) {
      auto paged = attention.make_paged_cache<TestType>(cache_shape(in.sizes), 3 * kv_len, block_size);
      paged.set_key_offset(biased.view());
      std::vector<Index> sequences;
      for (const Index b : {0, 1}) {
        const Index origin = paged.add();
        append_tokens(paged, origin, in, b, 0, 800);
        sequences.push_back(paged.fork(origin));  // its last block is copied
        append_tokens(paged, sequences.back(), in, b, 800, kv_len - 800);
      }
      INFO("block_size " << block_size);
      CHECK(same_bits(run_on(attention, in, paged.view(sequences)), expected));
    }
  }
}

TEMPLATE_TEST_CASE("an offset may come in any type of numbers, and keys as well", "", double, Eigen::half,
                   Eigen::bfloat16) {
  Random random;
  const auto attention = make_attention();
  Biased<float> biased({1, 2, 300, 4, 2, 32, 32}, random, 16.0);
  const auto narrow = [](auto& numbers) {
    for (auto& x : numbers) x = static_cast<float>(static_cast<TestType>(x));
  };
  narrow(biased.offset);
  narrow(biased.in.key);
  const auto expected = run_on(attention, biased.in, offset_cache<dca::Int8>(attention, biased).view());
  const std::vector<TestType> offset(biased.offset.begin(), biased.offset.end());
  std::vector<TestType> key;
  for (const float x : biased.in.key) key.push_back(static_cast<TestType>(x));
  auto cache = attention.make_cache<dca::Int8>(cache_shape(biased.in.sizes), 1, {.tokens = 300});
  cache.set_key_offset(dca::contiguous(offset.data(), {2, 32}));
  cache.append(Eigen::DefaultDevice{}, dca::contiguous(std::as_const(key).data(), biased.in.key_shape()),
               biased.in.operands().value);
  CHECK(same_bits(run_on(attention, biased.in, cache.view()), expected));
}

TEST_CASE("summaries and choices are those of whole keys") {
  Random random;
  constexpr Index block = 24;
  const auto attention = make_attention();
  const Biased<float> biased({1, 7, 1900, 4, 2, 32, 32}, random);
  const auto with = offset_cache<float>(attention, biased, block);
  dca::CacheShape shape = cache_shape(biased.in.sizes);
  shape.summary_block = block;
  auto without = attention.make_cache<float>(shape, 1, {.tokens = 1900});
  append_tokens(without, 0, biased.in, 0, 0, 1900);
  std::vector<float> a(3 * 32), b(3 * 32);
  for (Index window = 0; window * block < 1900; ++window) {
    for (const Index head : {0, 1}) {
      with.view().read_summary(0, head, window, a.data());
      without.view().read_summary(0, head, window, b.data());
      for (std::size_t k = 0; k < a.size(); ++k) REQUIRE(std::abs(a[k] - b[k]) < 2e-5F);
    }
  }
  const dca::TopBlocks policy{.keys = 96, .block = block};
  const auto chosen = select_on(attention, biased.in, with.view(), policy);
  const auto expected = select_on(attention, biased.in, without.view(), policy);
  REQUIRE(chosen.chosen.size() == expected.chosen.size());
  for (std::size_t k = 0; k < chosen.chosen.size(); ++k) CHECK(chosen.chosen[k].blocks == expected.chosen[k].blocks);
  CHECK(largest_error(chosen.outputs.out, to_array(expected.outputs.out, biased.in.out_shape())) < 1e-3);
}

TEST_CASE("calls that summarise unrotated keys themselves choose as from tensors") {
  Random random;
  const Biased<float> biased({1, 7, 1900, 4, 2, 32, 32}, random);
  const Unplaced unplaced({.chunks = chunks, .rope = make_ropes(16).library});
  const auto chosen = [&](const auto& source) {
    std::vector<dca::ChosenBlocks> made;
    Outputs<float> outputs(biased.in);
    unplaced(Eigen::DefaultDevice{}, biased.in.operands().query, source, outputs.out_view(), {.chosen = &made},
             dca::TopBlocks{.keys = 96, .block = 24});
    std::vector<std::vector<Index>> blocks;
    for (const dca::ChosenBlocks& one : made) blocks.push_back(one.blocks);
    return blocks;
  };
  const Operands<float> x = biased.in.operands();
  const auto expected = chosen(dca::DenseKeyValues<float, float>(x.key, x.value));
  REQUIRE_FALSE(expected.empty());
  CHECK(chosen(offset_cache<float>(unplaced, biased).view()) == expected);
}

TEST_CASE("keys that are not finite reach the queries that see them, and no others") {
  Random random;
  const auto attention = make_attention();
  for (const Index q_len : {3, 60}) {
    Biased<float> biased({1, q_len, 400, 2, 2, 32, 16}, random);
    biased.in.key[static_cast<std::size_t>((399 * 2 + 1) * 32 + 5)] = std::numeric_limits<float>::quiet_NaN();
    const auto actual = run_on(attention, biased.in, offset_cache<float>(attention, biased).view());
    const auto expected = run(attention, biased.in, {.q_offset = 400 - q_len});
    for (std::size_t k = 0; k < actual.out.size(); ++k) {
      REQUIRE(std::isnan(actual.out[k]) == std::isnan(expected.out[k]));
    }
    CHECK(std::isnan(actual.out.back()));
  }
}
