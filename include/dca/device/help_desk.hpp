// Where a call meets the threads that help it.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <utility>

#include "dca/tensor/index.hpp"

namespace dca::detail {

/// Where the threads of a pool ask for work of a call. A pool starts its tasks when it can: late where all its threads
/// are busy, perhaps with calls like this one, never where they wait for it. So a call waits only for helpers who have
/// come, and who comes after it has closed finds nothing to do, or the work of the next call. Nobody but those who come
/// in time looks at what a call works on.
///
/// Whoever is still to come holds the desk as well: the last one deletes it. What helpers carry is a plain pointer,
/// which std::function keeps without memory; so where a pool drops its tasks instead of running them, the desk stays.
class HelpDesk {
 public:
  /// Work of a call, on a worker from 1 on; must not throw.
  using Work = void (*)(void* call, Index worker);

  explicit HelpDesk(const void* pool) : pool_(pool) {}
  HelpDesk(const HelpDesk&) = delete;
  HelpDesk& operator=(const HelpDesk&) = delete;

  /// Whether helpers who come can be of `pool`: those of another one must have been and gone.
  bool turn_to(const void* pool) {
    const std::lock_guard lock(mutex_);
    if (pool != pool_ && coming_ > 0) return false;
    pool_ = pool;
    return true;
  }

  /// Opens, for `helpers` helpers at most, who will be workers 1, 2, ... Returns how many to send for, besides those
  /// who are on their way from earlier calls.
  Index open(Work work, void* call, Index helpers) {
    const std::lock_guard lock(mutex_);
    work_ = work;
    call_ = call;
    places_ = helpers;
    next_worker_ = 1;
    const Index more = std::max<Index>(helpers - coming_, 0);
    coming_ += more;
    owners_ += more;
    return more;
  }

  /// So many who were to come will not.
  void excuse(Index helpers) {
    const std::lock_guard lock(mutex_);
    coming_ -= helpers;
    owners_ -= helpers;
  }

  /// Lets nobody in any more, and waits for those who are.
  void close() {
    std::unique_lock lock(mutex_);
    places_ = 0;
    done_.wait(lock, [&] { return busy_ == 0; });
  }

  /// What one who was sent for does. The desk may be gone afterwards.
  void help() {
    std::unique_lock lock(mutex_);
    --coming_;
    if (places_ > 0) {
      --places_;
      ++busy_;
      const Index worker = next_worker_++;
      lock.unlock();
      work_(call_, worker);  // neither changes before the last one is done
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
    lock.unlock();
    leave();
  }

  /// Of an owner: the last one deletes the desk.
  void leave() {
    if (--owners_ == 0) delete this;
  }

 private:
  ~HelpDesk() = default;

  std::mutex mutex_;
  std::condition_variable done_;
  const void* pool_;
  Work work_ = nullptr;
  void* call_ = nullptr;
  Index places_ = 0;  // for helpers who may still come in
  Index busy_ = 0;    // who are in
  Index coming_ = 0;  // who were sent for, and have not come
  Index next_worker_ = 1;
  std::atomic<Index> owners_{1};
};

/// Holds the help desk of calls that follow each other, one at a time.
class HelpDeskOwner {
 public:
  HelpDeskOwner() = default;
  ~HelpDeskOwner() { reset(nullptr); }
  HelpDeskOwner(HelpDeskOwner&& other) noexcept : desk_(std::exchange(other.desk_, nullptr)) {}
  HelpDeskOwner& operator=(HelpDeskOwner&& other) noexcept {
    reset(std::exchange(other.desk_, nullptr));
    return *this;
  }

  /// A desk for helpers from `pool`: the one of the call before, if it had the same one or nobody is late. Null where
  /// memory is not to be had; work can be done without help.
  HelpDesk* desk(const void* pool) {
    if (desk_ == nullptr || !desk_->turn_to(pool)) reset(new (std::nothrow) HelpDesk(pool));
    return desk_;
  }

 private:
  void reset(HelpDesk* desk) {
    if (desk_ != nullptr) desk_->leave();
    desk_ = desk;
  }

  HelpDesk* desk_ = nullptr;
};

}  // namespace dca::detail
