// Types that have what a concept names, and nothing else: the operator must ask for no more.
#include "support/catch.hpp"
#include "support/selecting.hpp"

using namespace dca_test;

namespace {

/// Far keys end `near` tokens before the query.
class Layout {
 public:
  explicit Layout(Index near) : near_(near) {}
  Index near() const { return near_; }
  bool operator==(const Layout& other) const { return near_ == other.near_; }

 private:
  Index near_;
};

struct Placement {
  using Layout = ::Layout;
  static Index position(const Layout&, Index j) { return j; }
};

/// A range that moves with every query.
struct Far {
  using Layout = ::Layout;
  using KeyPlacement = Placement;
  static constexpr bool selectable = true;
  static Index query_position(const Layout&, Index i) { return i; }
  static Index key_position(const Layout&, Index j) { return j; }
  static dca::KeyRange keys(const Layout& layout, Index i) { return {0, std::max<Index>(0, i + 1 - layout.near())}; }
};

struct Near {
  using Layout = ::Layout;
  using KeyPlacement = Placement;
  static Index query_position(const Layout&, Index i) { return i; }
  static Index key_position(const Layout&, Index j) { return j; }
  static dca::KeyRange keys(const Layout& layout, Index i) {
    return {std::max<Index>(0, i + 1 - layout.near()), i + 1};
  }
};

using Attention = dca::ComposedAttention<float, Far, Near>;
using Cache = dca::KeyValueCache<float, Placement>;

/// What a cache holds.
class Source {
 public:
  using Key = float;
  using Value = float;
  using KeyPlacement = Placement;

  explicit Source(const Cache& cache) : view_(cache.view()) {}
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  dca::RowRun<float> keys(Index s, Index head, Index first) const { return view_.keys(s, head, first); }
  dca::RowRun<float> values(Index s, Index head, Index first) const { return view_.values(s, head, first); }
  Index sequences() const { return view_.sequences(); }
  Index length(Index s) const { return view_.length(s); }
  Index kv_heads() const { return view_.kv_heads(); }
  Index head_dim() const { return view_.head_dim(); }
  Index v_head_dim() const { return view_.v_head_dim(); }
  dca::PlacedKeys<Placement> placement() const { return view_.placement(); }
  Index summary_block() const { return view_.summary_block(); }
  void read_summary(Index s, Index head, Index block, float* place) const { view_.read_summary(s, head, block, place); }
  Index memory() const { return 0; }  // of another meaning than a library's source's

 private:
  dca::PagedKeyValues<Cache::Pool> view_;
};

constexpr Index block = 8;

/// Every second block, whatever they hold.
class Policy {
 public:
  Policy() = default;
  Policy(const Policy&) = delete;
  Policy& operator=(const Policy&) = delete;

  Index block_size() const { return block; }
  Index queries() const { return 64; }
  double optimism() const { return 1.0; }
  void choose(const dca::QueryBlock&, std::span<dca::RankedBlock<float>> blocks, dca::BlockSet& set) const {
    for (const auto& candidate : blocks) {
      if (candidate.block % 2 == 0) set.add(candidate.block);
    }
  }
};

static_assert(dca::KeyPlacing<Placement> && dca::SelectablePart<Far> && dca::ChunkPart<Near>);
static_assert(dca::SummarisedSource<Source> && dca::RankSelection<Policy, float>);

// What the operator asks for is in the concept.
struct NoEquality {
  Index near;
};
struct IncomparablePlacement {
  using Layout = NoEquality;
  static Index position(const NoEquality&, Index j) { return j; }
};
struct IncomparablePart {
  using Layout = NoEquality;
  using KeyPlacement = IncomparablePlacement;
  static Index query_position(const NoEquality&, Index i) { return i; }
  static Index key_position(const NoEquality&, Index j) { return j; }
  static dca::KeyRange keys(const NoEquality&, Index i) { return {0, i + 1}; }
};
struct UnplacedPart : IncomparablePart {
  using KeyPlacement = dca::Unplaced;
};
struct OtherLayout : Near {
  using KeyPlacement = dca::ChunkOffset;
};
struct PlacementUntold : dca::DenseKeyValues<float, float> {
  using KeyPlacement = Placement;
};
struct SumsUpDoubles : Source {
  void read_summary(Index, Index, Index, float*) const;
};
struct TakesReference {
  Index block_size() const;
  Index queries() const;
  double optimism() const;
  void choose(const dca::QueryBlock&, std::span<dca::RankedBlock<float>>&, dca::BlockSet&) const;
};
static_assert(!dca::ChunkPart<IncomparablePart> && dca::ChunkPart<UnplacedPart> && !dca::ChunkPart<OtherLayout>);
static_assert(!dca::KeyValueSource<PlacementUntold> && dca::KeyValueSource<dca::DenseKeyValues<float, float>>);
static_assert(!dca::SummarisedSource<SumsUpDoubles, double> && dca::KeyValueSource<SumsUpDoubles>);
static_assert(!dca::BlockSelection<TakesReference, float>);

}  // namespace

TEST_CASE("what the concepts name is all that the operator asks for, and ranges may move with every token") {
  constexpr Index near = 20;
  const Ropes ropes = make_ropes(16);
  const Attention attention({.chunks = Layout(near), .rope = ropes.library});
  for (const Index q_len : {1, 7, 100}) {
    Random random;
    const Inputs<float> in({1, q_len, 200, 2, 1, 16, 16}, random);
    dca::CacheShape shape = cache_shape(in.sizes);
    shape.summary_block = block;
    auto cache = attention.make_cache<float>(shape, 1, {.tokens = 200});
    append_tokens(cache, 0, in, 0, 0, 200);
    const Source source(cache);
    Outputs<float> outputs(in);
    attention(Eigen::DefaultDevice{}, in.operands().query, source, outputs.out_view(), {.lse = outputs.lse_view()},
              Policy());
    // Rows that are streamed together visit what any of them chose: the same, for this policy.
    const auto positions = [](std::int64_t i, std::int64_t j) -> std::optional<reference::Positions> {
      if (j > i || (i - j >= near && j / block % 2 != 0)) return std::nullopt;
      return reference::Positions{i, j};
    };
    INFO("q_len " << q_len);
    CHECK(difference(outputs, reference_of(in, positions, ropes.reference, {.q_offset = 200 - q_len})) == "");
  }
}
