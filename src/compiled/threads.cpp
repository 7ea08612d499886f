#define EIGEN_USE_THREADS
#include <unsupported/Eigen/CXX11/ThreadPool>

#include "implementation.hpp"

namespace dca::compiled {

/// Without the calling thread, which works too.
struct [[gnu::visibility("hidden")]] Threads::Implementation {
  explicit Implementation(Index count) : pool(static_cast<int>(count)) {}
  Eigen::ThreadPool pool;
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
  Eigen::ThreadPool& pool = implementation_->pool;
  return {&pool, Index{pool.NumThreads()} + 1, [](void* place, void (*run)(void*), void* argument) {
            static_cast<Eigen::ThreadPool*>(place)->Schedule([run, argument] { run(argument); });
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
