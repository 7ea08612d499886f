// Tasks on a pool, and threads that the system grants.
#include "tasks.hpp"

#include <dca/compiled/threads.hpp>
#include <new>
#include <numeric>
#include <vector>

#include "support/catch.hpp"
#include "thread_limit.hpp"

TEST_CASE("what a task throws reaches the caller, on any number of threads") {
  for (const int threads : {1, 2, 4}) {
    const dca::compiled::Threads pool(threads);
    const dca::Executor executor = pool.executor();
    for (const dca::Index bad : {0, 5, 39}) {
      INFO(threads << " threads, task " << bad);
      CHECK_THROWS_AS(dca_lm::for_tasks(executor, 40,
                                        [&](dca::Index task) {
                                          if (task >= bad) throw std::bad_alloc();
                                        }),
                      std::bad_alloc);
    }
    std::vector<int> calls(100, 0);  // the pool works as before
    dca_lm::for_tasks(executor, 100, [&](dca::Index task) { ++calls[static_cast<std::size_t>(task)]; });
    CHECK(std::accumulate(calls.begin(), calls.end(), 0) == 100);
    CHECK(*std::max_element(calls.begin(), calls.end()) == 1);
    dca_lm::for_tasks(executor, 0, [](dca::Index) { throw std::bad_alloc(); });
  }
}

TEST_CASE("tasks that a pool does not take are done by the caller") {
  const dca::Executor refuses{.threads = 4, .schedule = [](void*, void (*)(void*), void*) { return false; }};
  const dca::Executor throws{.threads = 4,
                             .schedule = [](void*, void (*)(void*), void*) -> bool { throw std::bad_alloc(); }};
  for (const dca::Executor& executor : {refuses, throws}) {
    std::vector<int> calls(20, 0);
    dca_lm::for_tasks(executor, 20, [&](dca::Index task) { ++calls[static_cast<std::size_t>(task)]; });
    CHECK(calls == std::vector<int>(20, 1));
  }
}

TEST_CASE("as many threads as the system grants are granted") {
  CHECK(dca_lm::granted_threads(1) == 1);
  CHECK(dca_lm::granted_threads(64) == 64);
}
