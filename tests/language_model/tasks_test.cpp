// Tasks on a pool, and threads that the system grants.
#include "tasks.hpp"

#include <new>
#include <numeric>
#include <vector>

#include "support/catch.hpp"
#include "thread_limit.hpp"

TEST_CASE("what a task throws reaches the caller, on any number of threads") {
  for (const int threads : {1, 2, 4}) {
    Eigen::ThreadPool pool(threads);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    for (const dca::Index bad : {0, 5, 39}) {
      INFO(threads << " threads, task " << bad);
      CHECK_THROWS_AS(dca_lm::for_tasks(device, 40,
                                        [&](dca::Index task) {
                                          if (task >= bad) throw std::bad_alloc();
                                        }),
                      std::bad_alloc);
    }
    std::vector<int> calls(100, 0);  // the pool works as before
    dca_lm::for_tasks(device, 100, [&](dca::Index task) { ++calls[static_cast<std::size_t>(task)]; });
    CHECK(std::accumulate(calls.begin(), calls.end(), 0) == 100);
    CHECK(*std::max_element(calls.begin(), calls.end()) == 1);
    dca_lm::for_tasks(device, 0, [](dca::Index) { throw std::bad_alloc(); });
  }
}

TEST_CASE("as many threads as the system grants are granted") {
  CHECK(dca_lm::granted_threads(1) == 1);
  CHECK(dca_lm::granted_threads(64) == 64);
}
