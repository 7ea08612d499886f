// Where memory runs out, at whichever allocation: the operation throws std::bad_alloc, leaves everything as it was,
// leaks nothing, and works when it is asked again. Caches and pools: failing_cache_allocation_test.cpp.
#include "support/every_allocation.hpp"

using namespace dca_test;
using namespace dca_test::memory;

namespace {

struct Call : Problem {
  Call(Index q_len, bool is_threaded, bool keeps_workspace)
      : Problem(q_len, 2), threaded(is_threaded), keeps(keeps_workspace) {}
  void operate() {
    const Operands<float> x = in.operands();
    dca::CallOptions<float> options{.lse = outputs.lse_view()};
    if (keeps) options.workspace = &workspace;
    if (threaded) {
      attention(threads->device, x.query, x.key, x.value, outputs.out_view(), options);
    } else {
      attention(Eigen::DefaultDevice{}, x.query, x.key, x.value, outputs.out_view(), options);
    }
  }
  void observe(Observation& seen) const { seen << outputs; }
  bool threaded, keeps;
  dca::Workspace workspace;
};

struct RaggedCall : Problem {
  RaggedCall() : Problem(5) {}
  void operate() {
    const Operands<float> x = in.operands();
    const dca::RaggedKeyValues<const float, const float> source(x.key, x.value, key_starts);
    attention(Eigen::DefaultDevice{}, x.query, source, outputs.out_view(),
              {.lse = outputs.lse_view(), .cu_seqlens = query_starts});
  }
  void observe(Observation& seen) const { seen << outputs; }
  std::vector<Index> key_starts{0, 20, token_count}, query_starts{0, 1, 5};
};

/// A call that lets a policy choose, on a cache with summaries.
struct Select : Problem {
  Select()
      : cache(
            attention.make_cache<float>({.kv_heads = 2, .head_dim = 8, .v_head_dim = 8, .summary_block = summary_block},
                                        1, {.tokens = token_count})) {
    append_tokens(cache, 0, in, 0, 0, token_count);
  }
  void operate() {
    const dca::CallOptions<float> options{
        .lse = outputs.lse_view(), .skipped = dca::contiguous(skipped.data(), in.lse_shape()), .chosen = &chosen};
    attention(Eigen::DefaultDevice{}, in.operands().query, cache.view(), outputs.out_view(), options,
              dca::TopBlocks{.keys = 8, .block = summary_block, .query_block = 4});
  }
  void observe(Observation& seen) const {
    seen << outputs << skipped << static_cast<Index>(chosen.size());
    for (const dca::ChosenBlocks& one : chosen) seen << one.blocks;
  }
  dca::KeyValueCache<float> cache;
  std::vector<float> skipped = std::vector<float>(4, -2.0F);
  std::vector<dca::ChosenBlocks> chosen{};
};

struct Merge : Problem {
  Merge() : Problem(40), other(in) {
    const Operands<float> x = in.operands();
    attention(Eigen::DefaultDevice{}, x.query, x.key, x.value, other.out_view(), {.lse = other.lse_view()});
  }
  void operate() { merge_states({other.state(), other.state()}, outputs, {}, threads->device); }
  void observe(Observation& seen) const { seen << outputs; }
  Outputs<float> other;
};

struct Rotate : Problem {
  Rotate() : Problem(5) {}
  void operate() {
    dca::rotate(rope, std::span<const Index>(positions), dca::contiguous(in.query.data(), in.query_shape()));
  }
  void observe(Observation& seen) const { seen << in.query; }
  std::vector<Index> positions{3, 1, 4, 1, 5};
  dca::RotaryEmbedding rope = make_ropes(8).library;
};

struct RotateBack : Rotate {
  void operate() {
    dca::rotate_back(rope, std::span<const Index>(positions), dca::contiguous(in.query.data(), in.query_shape()));
  }
};

struct MakeOperator : Problem {
  void operate() {
    rotary_dim = dca::DualChunkAttention<float>({.chunks = chunks, .rope = rope}).placed_keys().rope.rotary_dim();
  }
  void observe(Observation& seen) const { seen << rotary_dim; }
  dca::RotaryEmbedding rope = make_ropes(8).library;
  Index rotary_dim = 0;
};

struct MakeRope : Problem {
  void operate() {
    rotary_dim = dca::RotaryEmbedding(dca::yarn_frequencies(16, 1e4, {.factor = 4, .trained_window = 64})).rotary_dim();
  }
  void observe(Observation& seen) const { seen << rotary_dim; }
  Index rotary_dim = 0;
};

}  // namespace

TEST_CASE("a call without memory writes nothing") {
  every_allocation_may_fail("decode", maker<Call>(Index{1}, false, false), 1);
  every_allocation_may_fail("prefill", maker<Call>(Index{40}, false, false), 1);
  every_allocation_may_fail("prefill with a workspace", maker<Call>(Index{40}, false, true), 1);
  every_allocation_may_fail("decode on two threads", maker<Call>(Index{1}, true, true), 1);
  every_allocation_may_fail("prefill on two threads", maker<Call>(Index{40}, true, false), 1);
  every_allocation_may_fail("ragged", maker<RaggedCall>(), 1);
}

TEST_CASE("a call that lets a policy choose without memory writes nothing") {
  every_allocation_may_fail("selection", maker<Select>(), 3);
}

TEST_CASE("merge, rotation and embeddings without memory leave everything as it was") {
  every_allocation_may_fail("merge", maker<Merge>(), 1);
  every_allocation_may_fail("rotate", maker<Rotate>(), 2);
  every_allocation_may_fail("rotate_back", maker<RotateBack>(), 2);
  every_allocation_may_fail("an operator", maker<MakeOperator>(), 0);
  every_allocation_may_fail("an embedding", maker<MakeRope>(), 2);
}
