// A progress bar on stderr, for people: absent where stderr is not a terminal.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

namespace dca_lm {

class Progress {
 public:
  explicit Progress(std::string label) : label_(std::move(label)), visible_(isatty(STDERR_FILENO) == 1) {}
  ~Progress() {
    if (visible_) std::fprintf(stderr, "\r\033[K");
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `share` of the whole is done, in [0, 1]; what is left is estimated from the time it took.
  void operator()(double share) const {
    if (!visible_) return;
    constexpr int width = 32;
    const int filled = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
    const double spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    const double left = share > 0 ? spent / share * (1 - share) : 0;
    std::fprintf(stderr, "\r\033[K%s [%s%s] %3.0f %%, %.0f s left", label_.c_str(),
                 std::string(static_cast<std::size_t>(filled), '#').c_str(),
                 std::string(static_cast<std::size_t>(width - filled), '.').c_str(), share * 100, left);
    std::fflush(stderr);
  }

 private:
  std::string label_;
  bool visible_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace dca_lm
