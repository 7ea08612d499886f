// The control block that a call shares with the pool tasks that may help it.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <utility>

#include "dca/tensor/index.hpp"

namespace dca::detail {

/// Control block of calls that follow each other, one at a time, and of the pool tasks (helpers) scheduled for them.
///
/// A pool may start a task late, or never while its threads wait, perhaps in calls like this one. So a call waits only
/// for helpers that have started. A helper that starts after `finish` does nothing, or helps the next call; it never
/// touches data of a call that has ended.
///
/// Reference-counted: by its owner and by each pending helper. The last one deletes it. A helper holds a plain pointer,
/// which a std::function stores without allocating; so a pool that drops tasks without running them leaks the block.
class HelperControl {
 public:
  /// Work of a call, on worker 1, 2, ...; must not throw.
  using Work = void (*)(void* call, Index worker);

  explicit HelperControl(const void* pool) : pool_(pool) {}
  HelperControl(const HelperControl&) = delete;
  HelperControl& operator=(const HelperControl&) = delete;

  /// Makes `pool` the pool of the next call. False, with nothing changed, while tasks of another pool are pending.
  bool try_set_pool(const void* pool) {
    const std::lock_guard lock(mutex_);
    if (pool != pool_ && pending_ > 0) return false;
    pool_ = pool;
    return true;
  }

  /// Begins a call that at most `helpers` helpers may join, as workers 1, 2, ... Returns how many tasks to schedule
  /// besides those still pending from earlier calls.
  Index begin(Work work, void* call, Index helpers) {
    const std::lock_guard lock(mutex_);
    work_ = work;
    call_ = call;
    free_places_ = helpers;
    next_worker_ = 1;
    const Index more = std::max<Index>(helpers - pending_, 0);
    pending_ += more;
    references_ += more;
    return more;
  }

  /// Takes back `helpers` tasks that `begin` asked for and that could not be scheduled.
  void cancel(Index helpers) {
    const std::lock_guard lock(mutex_);
    pending_ -= helpers;
    references_ -= helpers;
  }

  /// Ends a call: no helper may join any more. Waits for those that are running.
  void finish() {
    std::unique_lock lock(mutex_);
    free_places_ = 0;
    none_running_.wait(lock, [&] { return running_ == 0; });
  }

  /// Body of a scheduled task. May delete this.
  void help() {
    std::unique_lock lock(mutex_);
    --pending_;
    if (free_places_ > 0) {
      --free_places_;
      ++running_;
      const Index worker = next_worker_++;
      lock.unlock();
      work_(call_, worker);  // neither changes while a helper runs
      lock.lock();
      if (--running_ == 0) none_running_.notify_one();
    }
    lock.unlock();
    release();
  }

  /// Drops one reference; the last one deletes this.
  void release() {
    if (--references_ == 0) delete this;
  }

 private:
  ~HelperControl() = default;

  std::mutex mutex_;
  std::condition_variable none_running_;
  const void* pool_;
  Work work_ = nullptr;
  void* call_ = nullptr;
  Index free_places_ = 0;  // helpers that may still join
  Index running_ = 0;      // helpers that have joined and not ended
  Index pending_ = 0;      // tasks scheduled that have not started
  Index next_worker_ = 1;
  std::atomic<Index> references_{1};
};

/// Owns the control block of calls that follow each other, one at a time.
class HelperControlOwner {
 public:
  HelperControlOwner() = default;
  ~HelperControlOwner() { reset(nullptr); }
  HelperControlOwner(HelperControlOwner&& other) noexcept : control_(std::exchange(other.control_, nullptr)) {}
  HelperControlOwner& operator=(HelperControlOwner&& other) noexcept {
    reset(std::exchange(other.control_, nullptr));
    return *this;
  }

  /// The control block for a call on `pool`: that of the call before, unless tasks of another pool are pending, then a
  /// new one. Null without memory; the call then runs without helpers.
  HelperControl* control(const void* pool) {
    if (control_ == nullptr || !control_->try_set_pool(pool)) reset(new (std::nothrow) HelperControl(pool));
    return control_;
  }

 private:
  void reset(HelperControl* control) {
    if (control_ != nullptr) control_->release();
    control_ = control;
  }

  HelperControl* control_ = nullptr;
};

}  // namespace dca::detail
