// Byte-level BPE as it is defined, slowly.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace dca_lm_test {

using Merges = std::vector<std::pair<std::string, std::string>>;

/// The parts of a word: again and again, of all neighbours the pair of the lowest rank is merged, the leftmost of equals.
inline std::vector<std::string> cut_by_definition(const std::string& word, const Merges& merges) {
  std::vector<std::string> parts;
  for (const char letter : word) parts.emplace_back(1, letter);
  for (;;) {
    std::size_t best_rank = merges.size(), best = 0;
    for (std::size_t k = 0; k + 1 < parts.size(); ++k) {
      const auto rank = static_cast<std::size_t>(
          std::find(merges.begin(), merges.end(), std::pair(parts[k], parts[k + 1])) - merges.begin());
      if (rank < best_rank) best_rank = rank, best = k;
    }
    if (best_rank == merges.size()) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

}  // namespace dca_lm_test
