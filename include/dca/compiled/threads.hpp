// Threads and memory that calls of the compiled operator use.
#pragma once

#include "dca/device/executor.hpp"

namespace dca::compiled {

/// A pool of threads, for programs that have none of their own.
class [[gnu::visibility("default")]] Threads {
 public:
  /// `count` threads that may work at once, the calling one included; 1 makes none. Throws std::invalid_argument unless
  /// 1 <= count <= 4096, std::system_error where the system does not give as many.
  explicit Threads(Index count);
  ~Threads();
  Threads(Threads &&) noexcept;
  Threads& operator=(Threads&&) noexcept;

  /// To be given to calls.
  Executor executor() const;

 private:
  struct Implementation;
  Implementation* implementation_ = nullptr;
};

/// Scratch memory kept from call to call, as dca::Workspace. It serves one call at a time.
class [[gnu::visibility("default")]] Workspace {
 public:
  Workspace();
  ~Workspace();
  Workspace(Workspace &&) noexcept;
  Workspace& operator=(Workspace&&) noexcept;

  /// Bytes held.
  Index bytes() const;

 private:
  friend struct Access;
  struct Implementation;
  Implementation* implementation_;
};

}  // namespace dca::compiled
