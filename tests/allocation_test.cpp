// A decode step with a workspace of the caller's takes no memory, and a cache survives when there is none. Counted
// under glibc by standing before its malloc.
#include <atomic>
#include <cstdlib>

#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define DCA_TEST_SANITIZED
#endif
#endif
#if defined(__GLIBC__) && !defined(DCA_TEST_SANITIZED) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define DCA_TEST_COUNTS_ALLOCATIONS
#endif

namespace {
std::atomic<long> allocations{0};
std::atomic<bool> no_aligned_memory{false};
std::atomic<long> allocations_granted{-1};  // before malloc has nothing more; -1: no end
}  // namespace

#ifdef DCA_TEST_COUNTS_ALLOCATIONS
// operator new comes here as well: it calls malloc, or aligned_alloc.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) noexcept {
  ++allocations;
  if (allocations_granted == 0) return nullptr;
  if (allocations_granted > 0) --allocations_granted;
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) noexcept {
  ++allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* memory, std::size_t bytes) noexcept {
  ++allocations;
  return __libc_realloc(memory, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  ++allocations;
  return no_aligned_memory ? nullptr : __libc_memalign(alignment, bytes);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
  ++allocations;
  *memory = no_aligned_memory ? nullptr : __libc_memalign(alignment, bytes);
  return *memory == nullptr ? 12 : 0;  // ENOMEM
}
}
#endif

using namespace dca_test;

namespace {

bool allocations_are_counted() {
#ifdef DCA_TEST_COUNTS_ALLOCATIONS
  return true;
#else
  skip("allocations are counted under glibc only, and not under sanitizers");
  return false;
#endif
}

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
  const auto key = rows_of(in.operands().key, 0, 1), value = rows_of(in.operands().value, 0, 1);
  const auto query = in.operands().query;
  Outputs<T> outputs(in);
  const auto out = outputs.out_view();
  const auto lse = outputs.lse_view();
  const auto step = [&] {
    cache.append(device, key, value);
    const dca::CallOptions<T> options{.lse = lse, .workspace = workspace};
    if constexpr (std::is_same_v<Selection, dca::AllChunks>) {
      attend_source(attention, device, query, cache.view(), out, options);
    } else {
      attention(device, query, cache.view(), out, options, selection);
    }
  };
  step();
  const long before = allocations;
  for (int k = 0; k < 40; ++k) step();
  return allocations - before;
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

TEST_CASE("a paged cache that gets no memory to append in keeps no block") {
  if (!allocations_are_counted()) return;
  Random random;
  const Inputs<float> in({1, 9, 9, 2, 2, 8, 8}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<float>>({12, 4}, 8);
  auto cache = attention.make_paged_cache<float>(cache_shape(in.sizes), 10, 2);
  const dca::Index sequence = cache.add();
  const Operands<float> tokens = in.operands();
  const auto append = [&] { cache.append(Eigen::DefaultDevice{}, sequence, tokens.key, tokens.value); };
  no_aligned_memory = true;
  bool refused = false;
  try {
    append();
  } catch (const std::bad_alloc&) {
    refused = true;
  }
  no_aligned_memory = false;
  CHECK(refused);
  CHECK(cache.pool().free_blocks() == 10);
  CHECK(cache.length(sequence) == 0);
  append();
  CHECK(cache.pool().free_blocks() == 5);
}

TEST_CASE("a paged cache that gets no memory for a sequence is as it was") {
  if (!allocations_are_counted()) return;
  Random random;
  const Inputs<float> in({1, 9, 9, 2, 2, 8, 8}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<float>>({12, 4}, 8);
  const Operands<float> tokens = in.operands();
  const bool forks = GENERATE(false, true);
  long refused = 0;
  for (bool done = false; !done; refused += done ? 0 : 1) {
    CAPTURE(forks, refused);
    auto cache = attention.make_paged_cache<float>(cache_shape(in.sizes), 10, 2);
    const dca::Index sequence = cache.add();
    cache.append(Eigen::DefaultDevice{}, sequence, tokens.key, tokens.value);
    allocations_granted = refused;
    try {
      if (forks) {
        cache.fork(sequence);
      } else {
        cache.add();
      }
      done = true;
    } catch (const std::bad_alloc&) {
    }
    allocations_granted = -1;
    REQUIRE(refused < 20);
    if (done) {
      CHECK(cache.length(sequence + 1) == (forks ? 9 : 0));
      continue;
    }
    CHECK_THROWS_AS(cache.length(sequence + 1), std::invalid_argument);
    cache.remove(sequence);
    CHECK(cache.pool().free_blocks() == 10);  // none had another user
    CHECK(cache.add() == sequence);
    CHECK(cache.add() == sequence + 1);
  }
  CHECK(refused >= (forks ? 4 : 3));
}

TEST_CASE("a call that gets no memory to report its choice in has written nothing") {
  if (!allocations_are_counted()) return;
  Random random;
  const Inputs<float> in({1, 1, 2100, 8, 2, 32, 32}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<float>>({700, 100}, 32);
  const dca::TopBlocks policy{.keys = 512, .block = 32};
  dca::CacheShape shape = cache_shape(in.sizes);
  shape.summary_block = policy.block;
  auto cache = attention.make_cache<float>(shape, 1, {.tokens = 2100});
  cache.append(Eigen::DefaultDevice{}, in.operands().key, in.operands().value);
  Eigen::ThreadPool pool(1);
  const Eigen::ThreadPoolDevice device(&pool, 1);
  dca::Workspace workspace;
  Outputs<float> outputs(in), shares(in);
  const Outputs<float> untouched(in);
  std::vector<dca::ChosenBlocks> chosen(1);
  const auto call = [&](Outputs<float>& to, std::vector<dca::ChosenBlocks>* report) {
    attention(device, in.operands().query, cache.view(), to.out_view(),
              {.lse = to.lse_view(), .workspace = &workspace, .skipped = shares.lse_view(), .chosen = report}, policy);
  };
  Outputs<float> expected(in);
  call(expected, nullptr);  // and the workspace is large enough
  shares = Outputs<float>(in);
  long refused = 0;
  for (bool done = false; !done; refused += done ? 0 : 1) {
    bool out_of_memory = false;
    allocations_granted = refused;
    try {
      call(outputs, &chosen);
      done = true;
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
    allocations_granted = -1;
    REQUIRE(refused < 50);
    CHECK(out_of_memory == !done);
    if (done) continue;
    CHECK(same_bits(outputs, untouched));
    CHECK(same_bits(shares, untouched));
    CHECK(chosen.size() == 1);
  }
  CHECK(refused > 3);
  CHECK(chosen.size() == 3);  // one for each kv_head
  CHECK(same_bits(outputs, expected));
}
