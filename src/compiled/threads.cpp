#define EIGEN_USE_THREADS
#include <unsupported/Eigen/CXX11/ThreadPool>

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "implementation.hpp"

namespace dca::compiled {
namespace {

/// Threads that each run one job. All are started before there is any: Eigen's pool waits for ever where the system
/// gives it fewer than it asks for.
class StartedThreads {
 public:
  using Job = std::packaged_task<void()>;

  /// Throws std::system_error where the system does not give them, with those that were started at an end.
  explicit StartedThreads(Index count) {
    try {
      threads_.reserve(static_cast<std::size_t>(count));
      for (; count > 0; --count) threads_.emplace_back([this] { run_job(); });
    } catch (...) {
      end();
      throw;
    }
  }
  ~StartedThreads() { end(); }
  StartedThreads(const StartedThreads&) = delete;
  StartedThreads& operator=(const StartedThreads&) = delete;

  void give(Job job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    changed_.notify_one();
  }

 private:
  void run_job() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !jobs_.empty() || ending_; });
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
  }

  void end() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

/// What Eigen's pool asks for threads.
struct Environment : Eigen::StlThreadEnvironment {
  class EnvThread {
   public:
    explicit EnvThread(std::future<void> done) : done_(std::move(done)) {}
    ~EnvThread() { done_.wait(); }
    void OnCancel() {}

   private:
    std::future<void> done_;
  };

  StartedThreads* threads;

  EnvThread* CreateThread(std::function<void()> work) {
    StartedThreads::Job job(std::move(work));
    auto thread = std::make_unique<EnvThread>(job.get_future());
    threads->give(std::move(job));
    return thread.release();
  }
};

}  // namespace

/// Without the calling thread, which works too.
struct [[gnu::visibility("hidden")]] Threads::Implementation {
  using Pool = Eigen::ThreadPoolTempl<Environment>;

  explicit Implementation(Index count) : threads(count), pool(static_cast<int>(count), Environment{{}, &threads}) {}

  StartedThreads threads;
  Pool pool;
};

Threads::Threads(Index count) {
  constexpr Index most = 4096;
  if (count < 1 || count > most) {
    detail::fail("threads", detail::to_text(count), "must be from 1 to " + detail::to_text(most));
  }
  if (count > 1) implementation_ = new Implementation(count - 1);
}
Threads::~Threads() { delete implementation_; }
Threads::Threads(Threads&& other) noexcept : implementation_(std::exchange(other.implementation_, nullptr)) {}
Threads& Threads::operator=(Threads&& other) noexcept {
  std::swap(implementation_, other.implementation_);
  return *this;
}

Executor Threads::executor() const {
  if (implementation_ == nullptr) return {};
  Implementation::Pool& pool = implementation_->pool;
  return {&pool, Index{pool.NumThreads()} + 1, [](void* place, void (*run)(void*), void* argument) {
            static_cast<Implementation::Pool*>(place)->Schedule([run, argument] { run(argument); });
            return true;
          }};
}

Workspace::Workspace() : implementation_(new Implementation) {}
Workspace::~Workspace() { delete implementation_; }
Workspace::Workspace(Workspace&& other) noexcept : implementation_(std::exchange(other.implementation_, nullptr)) {}
Workspace& Workspace::operator=(Workspace&& other) noexcept {
  std::swap(implementation_, other.implementation_);
  return *this;
}

Index Workspace::bytes() const { return Access::of(*this).workspace.bytes(); }

}  // namespace dca::compiled
