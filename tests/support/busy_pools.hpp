// Calls on devices whose pools have no thread to spare. A call that waits for one hangs: then the test fails.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include <dca/dca.hpp>

namespace dca_test {

/// Runs f, on a thread of its own. A thread that hangs cannot be ended, nor left alone: the program ends.
template <class F>
void must_end(const std::string& what, const F& f) {
  constexpr std::chrono::seconds limit{60};  // some tests take seconds under sanitizers
  std::packaged_task<void()> task(f);
  std::future<void> done = task.get_future();
  std::thread runner(std::move(task));
  if (done.wait_for(limit) == std::future_status::timeout) {
    std::fprintf(stderr, "FAILED: %s hangs\n", what.c_str());
    std::fflush(stderr);
    std::abort();
  }
  runner.join();
  done.get();
}

/// Waits for others without keeping them from the processor.
template <class Condition>
void wait_until(const Condition& condition) {
  while (!condition()) std::this_thread::yield();
}

/// Calls `right(device)` from inside the device's pool and beside others who use it. Returns where it said no.
template <class Right>
std::string wrong_in_busy_pools(const Right& right) {
  std::atomic<bool> nested{true}, in_loop{true}, larger{true}, beside_others{true}, at_once{true};
  must_end("a call from each thread of a pool", [&] {
    Eigen::ThreadPool pool(2);
    const Eigen::ThreadPoolDevice device(&pool, 2);
    std::atomic<int> begun{0};
    Eigen::Barrier done(2);
    for (int k = 0; k < 2; ++k) {
      pool.Schedule([&] {
        ++begun;
        wait_until([&] { return begun == 2; });
        for (int again = 0; again < 4; ++again) {
          if (!right(device)) nested = false;
        }
        done.Notify();
      });
    }
    done.Wait();
  });
  must_end("calls from the device's parallelFor", [&] {
    Eigen::ThreadPool pool(2);
    const Eigen::ThreadPoolDevice device(&pool, 2);
    device.parallelFor(8, Eigen::TensorOpCost(0, 0, 1e9), [&](dca::Index first, dca::Index last) {
      for (; first < last; ++first) {
        if (!right(device)) in_loop = false;
      }
    });
  });
  must_end("a call from inside a pool that is smaller than the device", [&] {
    Eigen::ThreadPool pool(1);
    const Eigen::ThreadPoolDevice device(&pool, 4);
    Eigen::Barrier done(1);
    pool.Schedule([&] {
      if (!right(device)) larger = false;
      done.Notify();
    });
    done.Wait();
  });
  must_end("a call beside tasks that wait for its end", [&] {
    Eigen::ThreadPool pool(2);
    const Eigen::ThreadPoolDevice device(&pool, 2);
    std::atomic<int> begun{0};
    std::atomic<bool> done{false};
    for (int k = 0; k < 2; ++k) {
      pool.Schedule([&] {
        ++begun;
        wait_until([&] { return done.load(); });
      });
    }
    wait_until([&] { return begun == 2; });
    if (!right(device)) beside_others = false;
    done = true;
  });
  must_end("calls of several threads on one device", [&] {
    Eigen::ThreadPool pool(2);
    const Eigen::ThreadPoolDevice device(&pool, 3);
    std::vector<std::thread> callers;
    for (int k = 0; k < 3; ++k) {
      callers.emplace_back([&] {
        for (int again = 0; again < 4; ++again) {
          if (!right(device)) at_once = false;
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
  });
  std::string wrong;
  if (!nested) wrong += "from each thread of the pool; ";
  if (!in_loop) wrong += "from parallelFor; ";
  if (!larger) wrong += "with fewer threads than the device says; ";
  if (!beside_others) wrong += "beside others' tasks; ";
  if (!at_once) wrong += "from several threads at once; ";
  return wrong;
}

}  // namespace dca_test
