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
  if (count > 1) implementation_ = std::make_unique<Implementation>(count - 1);
}
Threads::~Threads() = default;
Threads::Threads(Threads&&) noexcept = default;
Threads& Threads::operator=(Threads&&) noexcept = default;

Executor Threads::executor() const {
  if (implementation_ == nullptr) return {};
  Eigen::ThreadPool& pool = implementation_->pool;
  return {&pool, Index{pool.NumThreads()} + 1, [](void* place, void (*run)(void*), void* argument) {
            static_cast<Eigen::ThreadPool*>(place)->Schedule([run, argument] { run(argument); });
            return true;
          }};
}

Workspace::Workspace() : implementation_(std::make_unique<Implementation>()) {}
Workspace::~Workspace() = default;
Workspace::Workspace(Workspace&&) noexcept = default;
Workspace& Workspace::operator=(Workspace&&) noexcept = default;

Index Workspace::bytes() const { return Access::of(*this).workspace.bytes(); }

}  // namespace dca::compiled
