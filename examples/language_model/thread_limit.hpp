// Whether the system grants as many threads as are asked for.
#pragma once

#include <condition_variable>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "error.hpp"

namespace dca_lm {

/// `count`. Throws Error unless `count` threads can run at once, by trying: Eigen's pool hangs if one cannot start.
inline int granted_threads(int count) {
  std::mutex mutex;
  std::condition_variable condition;
  bool over = false;
  std::vector<std::thread> threads;
  std::string reason;
  try {
    threads.reserve(static_cast<std::size_t>(count));
    for (int k = 0; k < count; ++k) {
      threads.emplace_back([&] {
        std::unique_lock<std::mutex> lock(mutex);
        condition.wait(lock, [&] { return over; });
      });
    }
  } catch (const std::system_error& error) {
    reason = error.code().message();
  } catch (const std::bad_alloc&) {
    reason = "not enough memory";
  }
  {
    const std::lock_guard<std::mutex> lock(mutex);
    over = true;
  }
  condition.notify_all();
  for (std::thread& thread : threads) thread.join();
  if (reason.empty()) return count;
  throw Error("--threads " + std::to_string(count) + "; the system allows only " + std::to_string(threads.size()) +
              " now: " + reason);
}

}  // namespace dca_lm
