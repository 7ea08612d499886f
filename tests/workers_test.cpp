// Calls and the threads that help them: never waited for, never in the way.
#include <functional>
#include <stdexcept>
#include <utility>

#include "support/busy_pools.hpp"
#include "support/caches.hpp"
#include "support/catch.hpp"

using namespace dca_test;
using dca::detail::HelperControlOwner;
using dca::detail::run_tasks;

namespace {

using Task = std::function<void()>;

/// Keeps its tasks for later; none is dropped.
struct LatePool {
  std::vector<Task> tasks{};
  ~LatePool() { run(); }
  void Schedule(Task task) { tasks.push_back(std::move(task)); }
  void run() {
    for (const Task& task : std::exchange(tasks, {})) task();
  }
};

/// Runs its tasks at once, on the thread that brings them, as Eigen's does where its queues are full.
struct ImpatientPool {
  void Schedule(const Task& task) { task(); }
};

/// Has memory for so many tasks.
struct SmallPool : LatePool {
  std::size_t room = 0;
  void Schedule(Task task) {
    if (tasks.size() == room) throw std::bad_alloc();
    LatePool::Schedule(std::move(task));
  }
};

template <class Pool>
struct DeviceOf {
  Pool* pool;
  int threads;
  Pool* getPool() const { return pool; }
  int numThreads() const { return threads; }
};

/// How often each of `tasks` tasks ran in one call of so many workers.
template <class Device>
std::vector<int> runs_of(const Device& device, HelperControlOwner& owner, Index workers, Index tasks) {
  std::vector<int> runs(static_cast<std::size_t>(tasks));
  run_tasks(device, owner, workers, tasks, [&](Index, Index task) { ++runs[static_cast<std::size_t>(task)]; });
  return runs;
}

}  // namespace

TEST_CASE("each task runs once, on a worker that has no other at the time") {
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 4);
  HelperControlOwner owner;
  for (int call = 0; call < 300; ++call) {
    constexpr std::size_t workers = 4, tasks = 50;
    std::atomic<int> at_work[workers]{}, runs[tasks]{};
    std::atomic<bool> alone{true};
    run_tasks(device, owner, workers, tasks, [&](Index worker, Index task) {
      const auto w = static_cast<std::size_t>(worker);
      if (w >= workers || ++at_work[w] > 1) alone = false;
      ++runs[static_cast<std::size_t>(task)];
      --at_work[w];
    });
    REQUIRE(alone);
    REQUIRE(std::all_of(runs, runs + tasks, [](int count) { return count == 1; }));
  }
}

TEST_CASE("helpers that start after the call has ended do nothing") {
  LatePool pool;
  const DeviceOf<LatePool> device{&pool, 4};
  std::vector<int> runs;
  {
    HelperControlOwner owner;
    runs = runs_of(device, owner, 4, 10);
    CHECK(pool.tasks.size() == 3);
  }
  CHECK(runs == std::vector<int>(10, 1));
  pool.run();
  CHECK(runs == std::vector<int>(10, 1));
}

TEST_CASE("late helpers serve the next call, which schedules no new ones") {
  LatePool pool;
  const DeviceOf<LatePool> device{&pool, 4};
  HelperControlOwner owner;
  for (int call = 0; call < 100; ++call) CHECK(runs_of(device, owner, 4, 10) == std::vector<int>(10, 1));
  CHECK(pool.tasks.size() == 3);
  runs_of(device, owner, 6, 10);
  CHECK(pool.tasks.size() == 5);
  std::vector<Index> worker_of(10, -1);
  run_tasks(device, owner, 4, 10, [&](Index worker, Index task) {
    worker_of[static_cast<std::size_t>(task)] = worker;
    if (task == 4) pool.run();  // the fourth and the fifth find no place
  });
  CHECK(worker_of == std::vector<Index>{0, 0, 0, 0, 0, 1, 1, 1, 1, 1});
  CHECK(pool.tasks.empty());
  runs_of(device, owner, 4, 10);
  CHECK(pool.tasks.size() == 3);
}

TEST_CASE("no more helpers come in than a call has workers") {
  LatePool pool;
  const DeviceOf<LatePool> device{&pool, 6};
  HelperControlOwner owner;
  runs_of(device, owner, 6, 10);  // five are on their way
  std::vector<Index> worker_of(10, -1);
  run_tasks(device, owner, 4, 10, [&](Index worker, Index task) {
    worker_of[static_cast<std::size_t>(task)] = worker;
    if (pool.tasks.empty()) return;
    const Task helper = std::move(pool.tasks.back());  // comes in the middle of this task
    pool.tasks.pop_back();
    helper();
  });
  CHECK(worker_of == std::vector<Index>{0, 1, 2, 3, 3, 3, 3, 3, 3, 3});
}

TEST_CASE("helpers from another pool are not waited for either") {
  LatePool pools[2];
  HelperControlOwner owner;
  for (std::size_t call = 0; call < 4; ++call) {
    LatePool& pool = pools[call % 2];
    CHECK(runs_of(DeviceOf<LatePool>{&pool, 3}, owner, 3, 5) == std::vector<int>(5, 1));
    CHECK(pool.tasks.size() == (call < 2 ? 2 : 2 * (call / 2 + 1)));
  }
  for (LatePool& pool : pools) pool.run();
}

TEST_CASE("a pool that runs its tasks at once does all the work in the first") {
  ImpatientPool pool;
  HelperControlOwner owner;
  for (int call = 0; call < 3; ++call) {
    CHECK(runs_of(DeviceOf<ImpatientPool>{&pool, 4}, owner, 4, 10) == std::vector<int>(10, 1));
  }
}

TEST_CASE("a pool without memory for its tasks sends fewer helpers, and all is done") {
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) {
    SmallPool pool;
    pool.room = room;
    const DeviceOf<SmallPool> device{&pool, 4};
    HelperControlOwner owner;
    for (int call = 0; call < 3; ++call) CHECK(runs_of(device, owner, 4, 10) == std::vector<int>(10, 1));
    CHECK(pool.tasks.size() == room);
    pool.run();
  }
}

TEST_CASE("a task's exception reaches the caller after all workers have stopped") {
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 4);
  HelperControlOwner owner;
  for (const bool by_helper : {false, true}) {
    for (int call = 0; call < 50; ++call) {
      std::atomic<int> begun{0}, at_work{0};
      std::atomic<bool> thrown{false};
      std::string message;
      must_end("a call whose task throws", [&] {
        try {
          run_tasks(device, owner, 4, 100000, [&](Index worker, Index) {
            if (by_helper && worker == 0) wait_until([&] { return thrown.load(); });
            ++begun;
            ++at_work;
            const bool throws = by_helper ? worker != 0 : begun > 20;
            if (throws) thrown = true;
            --at_work;
            if (throws) throw std::runtime_error("a task's own");
          });
        } catch (const std::runtime_error& error) {
          message = error.what();
        }
      });
      REQUIRE(message == "a task's own");
      REQUIRE(at_work == 0);
      REQUIRE(begun < 100000);
      REQUIRE(runs_of(device, owner, 4, 10) == std::vector<int>(10, 1));
    }
  }
}

TEST_CASE("a device larger than its pool uses the pool's threads") {
  Eigen::ThreadPool none(0), one(1);
  CHECK(dca::detail::worker_count(Eigen::ThreadPoolDevice(&none, 3), 100) == 1);
  CHECK(dca::detail::worker_count(Eigen::ThreadPoolDevice(&one, 5000), 100) == 2);
  CHECK(dca::detail::worker_count(Eigen::ThreadPoolDevice(&one, -3), 100) == 1);
  HelperControlOwner owner;
  const Eigen::ThreadPoolDevice device(&none, 3);
  CHECK(runs_of(device, owner, dca::detail::worker_count(device, 10), 10) == std::vector<int>(10, 1));
}

TEST_CASE("attention in a busy pool ends, with the same bits") {
  Random random;
  const auto attention = make_chunked<dca::DualChunkAttention<float>>({90, 20}, 16);
  for (const Index q_len : {1, 300}) {
    const Inputs<float> in({2, q_len, 2500, 4, 2, 16, 16}, random);
    const auto expected = run(attention, in);
    CHECK(wrong_in_busy_pools([&](const Eigen::ThreadPoolDevice& device) {
            dca::Workspace workspace;
            const dca::CallOptions<float> kept{.workspace = &workspace};
            return same_bits(run(attention, in, {}, device), expected) &&
                   same_bits(run(attention, in, kept, device), expected) &&
                   same_bits(run(attention, in, kept, device), expected);  // in what the first has left
          }) == "");
  }
}

TEST_CASE("a cache in a busy pool fills, with the same bits") {
  Random random;
  const Inputs<float> in({2, 1, 300, 4, 2, 16, 16}, random);
  const auto attention = make_chunked<dca::DualChunkAttention<float>>({90, 20}, 16);
  dca::CacheShape shape = cache_shape(in.sizes);
  shape.summary_block = 16;
  const auto decoded = [&](const auto& device) {
    auto cache = attention.make_cache<float>(shape, 2, {.tokens = 301});
    cache.append(device, in.operands().key, in.operands().value);
    std::vector<float> summary(48);
    cache.view().read_summary(1, 1, 7, summary.data());
    auto result = run_on(attention, in, cache.view(), {}, device);
    result.out.insert(result.out.end(), summary.begin(), summary.end());
    return result;
  };
  const auto expected = decoded(Eigen::DefaultDevice{});
  CHECK(wrong_in_busy_pools(
            [&](const Eigen::ThreadPoolDevice& device) { return same_bits(decoded(device), expected); }) == "");
}

TEST_CASE("states in a busy pool merge, with the same bits") {
  Random random;
  const Inputs<double> a({1, 200, 200, 2, 2, 8, 8}, random), b({1, 200, 200, 2, 2, 8, 8}, random);
  const auto state = [](const Inputs<double>& x) {
    return dca::PartialState<const double>{x.operands().query, dca::contiguous(x.key.data(), x.lse_shape())};
  };
  const dca::PartialState<const double> states[] = {state(a), state(b)};
  const auto merged = [&](const auto& device) {
    Outputs<double> result(a);
    dca::merge(device, std::span<const dca::PartialState<const double>>(states),
               dca::PartialState<double>{result.out_view(), result.lse_view()});
    return result;
  };
  const auto expected = merged(Eigen::DefaultDevice{});
  CHECK(wrong_in_busy_pools(
            [&](const Eigen::ThreadPoolDevice& device) { return same_bits(merged(device), expected); }) == "");
}
