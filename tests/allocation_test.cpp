// A decode step with a workspace of the caller's takes no memory.
#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/failing_malloc.hpp"

using namespace dca_test;

namespace {

/// Allocations of 40 decode steps after the first: a token appended to each of two sequences, then attended, to all
/// keys or to those that a policy chooses.
template <class T, class Device, class Selection = dca::AllChunks>
long allocations_of_steps(const Device& device, dca::Workspace* workspace, const Selection& selection = {}) {
  Random random;
  const Inputs<T> in({2, 1, 2100, 8, 2, 32, 32}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<T>>({700, 100}, 32);
  dca::CacheShape shape = cache_shape(in.sizes);
  if constexpr (!std::is_same_v<Selection, dca::AllChunks>) shape.summary_block = selection.block_size();
  auto cache = attention.template make_cache<T>(shape, 2, {.tokens = 2200});
  cache.append(device, in.operands().key, in.operands().value);
  const auto key = in.operands().key.slice(1, 0, 1), value = in.operands().value.slice(1, 0, 1);
  const auto query = in.operands().query;
  Outputs<T> outputs(in);
  const auto out = outputs.out_view();
  const auto lse = outputs.lse_view();
  const auto step = [&] {
    cache.append(device, key, value);
    const dca::CallOptions<T> options{.lse = lse, .workspace = workspace};
    if constexpr (std::is_same_v<Selection, dca::AllChunks>) {
      attention(device, query, cache.view(), out, options);
    } else {
      attention(device, query, cache.view(), out, options, selection);
    }
  };
  step();
  const long before = allocations();
  for (int k = 0; k < 40; ++k) step();
  return allocations() - before;
}

}  // namespace

TEMPLATE_TEST_CASE("a decode step with a workspace takes no memory after the first", "", float, double) {
  if (!allocations_are_counted()) return;
  dca::Workspace workspace;
  CHECK(allocations_of_steps<TestType>(Eigen::DefaultDevice{}, &workspace) == 0);
}

TEMPLATE_TEST_CASE("a decode step on two threads takes no memory after the first", "", float, double) {
  if (!allocations_are_counted()) return;
  dca::Workspace workspace;
  Eigen::ThreadPool pool(2);
  CHECK(allocations_of_steps<TestType>(Eigen::ThreadPoolDevice(&pool, 2), &workspace) == 0);
}

TEST_CASE("a decode step that chooses among distant keys takes no memory after the first") {
  if (!allocations_are_counted()) return;
  dca::Workspace workspace;
  Eigen::ThreadPool pool(2);
  CHECK(allocations_of_steps<float>(Eigen::ThreadPoolDevice(&pool, 2), &workspace, dca::TopBlocks{.keys = 128}) == 0);
}

TEST_CASE("without a workspace each step takes its scratch once: the count counts") {
  if (!allocations_are_counted()) return;
  CHECK(allocations_of_steps<float>(Eigen::DefaultDevice{}, nullptr) == 40);
}
