// What the documentation says that threads may share, shared by many at once. Worth most under a thread sanitizer.
#include <atomic>
#include <thread>

#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;

namespace {

constexpr int callers = 4;

/// Runs body(caller) on `callers` threads, which start together.
template <class Body>
void at_once(const Body& body) {
  std::atomic<int> waiting{callers};
  std::vector<std::thread> threads;
  for (int caller = 0; caller < callers; ++caller) {
    threads.emplace_back([&, caller] {
      --waiting;
      while (waiting > 0) std::this_thread::yield();
      body(caller);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/// A problem whose queries are the last 30 of 70 tokens: the last is streamed on its own, all are packed.
struct Problem {
  Problem() : in({2, 30, 70, 4, 2, 16, 16}, random) {}
  Random random;
  Inputs<float> in;
  dca::DualChunkAttention<float> attention = make_chunked<dca::DualChunkAttention<float>>({24, 8}, 16);
};

}  // namespace

TEST_CASE("one operator serves many threads, each on a device of its own or all on one pool") {
  const Problem problem;
  const Outputs<float> expected = run(problem.attention, problem.in);
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice shared(&pool, 2);
  std::vector<Outputs<float>> results(2 * callers, Outputs<float>(problem.in));
  at_once([&](int caller) {
    for (int k = 0; k < 5; ++k) {
      results[static_cast<std::size_t>(caller)] = run(problem.attention, problem.in);
      results[static_cast<std::size_t>(callers + caller)] = run(problem.attention, problem.in, {}, shared);
    }
  });
  for (const Outputs<float>& result : results) CHECK(same_bits(result, expected));
}

TEST_CASE("many threads read one cache and one ragged batch") {
  const Problem problem;
  const auto cache = filled_cache<float>(problem.attention, problem.in);
  const auto view = cache.view();
  const std::vector<Index> starts{0, 70};
  const Operands<float> x = problem.in.operands();
  const dca::RaggedKeyValues<const float, const float> ragged(x.key.entry(0), x.value.entry(0), starts);
  const auto read = [&] {
    Outputs<float> of_cache = run_on(problem.attention, problem.in, view), of_ragged(problem.in);
    problem.attention(Eigen::DefaultDevice{}, x.query.entry(0), ragged, of_ragged.out_view().entry(0));
    of_cache.out.insert(of_cache.out.end(), of_ragged.out.begin(), of_ragged.out.end());
    return of_cache;
  };
  const Outputs<float> expected = read();
  std::vector<Outputs<float>> results(callers, Outputs<float>(problem.in));
  at_once([&](int caller) {
    for (int k = 0; k < 5; ++k) results[static_cast<std::size_t>(caller)] = read();
  });
  for (const Outputs<float>& result : results) CHECK(same_bits(result, expected));
}

TEST_CASE("each thread changes a cache of its own, all on one pool of threads") {
  const Problem problem;
  const auto whole = filled_cache<float>(problem.attention, problem.in);
  const Outputs<float> expected = run_on(problem.attention, problem.in, whole.view());
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice shared(&pool, 2);
  std::vector<Outputs<float>> results(callers, Outputs<float>(problem.in)), paged = results;
  at_once([&](int caller) {
    const auto c = static_cast<std::size_t>(caller);
    auto cache = problem.attention.make_cache<float>(cache_shape(problem.in.sizes), 2, {.tokens = 1, .grows = true});
    auto blocks = problem.attention.make_paged_cache<float>(cache_shape(problem.in.sizes), 40, 5);
    const Index sequences[] = {blocks.add(), blocks.add()};
    for (Index first = 0; first < 70; first += 14) {
      for (const Index sequence : sequences) {
        append_tokens(cache, sequence, problem.in, sequence, first, 14, shared);
        append_tokens(blocks, sequence, problem.in, sequence, first, 14, shared);
      }
    }
    dca::Workspace workspace;
    results[c] = run_on(problem.attention, problem.in, cache.view(), {.workspace = &workspace}, shared);
    paged[c] = run_on(problem.attention, problem.in, blocks.view(sequences), {.workspace = &workspace}, shared);
  });
  for (const Outputs<float>& result : results) CHECK(same_bits(result, expected));
  for (const Outputs<float>& result : paged) CHECK(same_bits(result, expected));
}

TEST_CASE("many threads rotate by one embedding and merge the same states") {
  const Problem problem;
  const dca::RotaryEmbedding rope = make_ropes(16).library;
  std::vector<Index> positions(30);
  for (std::size_t k = 0; k < positions.size(); ++k) positions[k] = static_cast<Index>(k * k * 37);
  const auto rotated = [&](std::vector<float> x) {
    dca::rotate(rope, std::span<const Index>(positions), dca::contiguous(x.data(), problem.in.query_shape()));
    return x;
  };
  const Outputs<float> state = run(problem.attention, problem.in);
  const auto merged = [&](const auto& device) {
    Outputs<float> result(problem.in);
    merge_states({state.state()}, result, {}, device);
    return result;
  };
  const std::vector<float> expected = rotated(problem.in.query);
  const Outputs<float> expected_state = merged(Eigen::DefaultDevice{});
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice shared(&pool, 2);
  std::vector<std::vector<float>> results(callers);
  std::vector<Outputs<float>> states(callers, Outputs<float>(problem.in));
  at_once([&](int caller) {
    for (int k = 0; k < 5; ++k) {
      results[static_cast<std::size_t>(caller)] = rotated(problem.in.query);
      states[static_cast<std::size_t>(caller)] = merged(shared);
    }
  });
  for (const auto& result : results) CHECK(same_bits(result, expected));
  for (const auto& result : states) CHECK(same_bits(result, expected_state));
}
