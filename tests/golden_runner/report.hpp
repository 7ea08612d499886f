// Checking golden cases and saying how it went, a line each.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "golden_runner/paths.hpp"

namespace dca_test {

/// Counts lines that passed and failed.
class GoldenReport {
 public:
  explicit GoldenReport(std::ostream& stream) : stream_(stream) {}

  /// One line: whether out and lse of all variants of a path are within their bounds (see bounds.hpp), the largest
  /// error of each beside its bound, and the largest logit where it raises the bound. `storage` widens the bounds.
  template <class T>
  void check(const GoldenCase& golden, const std::string& path, const std::vector<GoldenOutputs<T>>& outputs,
             const StorageError& storage = {});

  /// One line of a case or path that could not be computed.
  void fail(const std::string& what, const std::string& why);

  /// The last line, "N passed, N failed". Returns whether something ran and nothing failed.
  bool finish();

 private:
  std::ostream& stream_;
  int passed_ = 0;
  int failed_ = 0;
};

}  // namespace dca_test
