#include "retrieval.hpp"

#include <algorithm>
#include <numeric>

namespace dca_lm {
namespace {

/// How many tokens two prompts begin with alike. The last token of the second does not count: it is read in any case,
/// for its state says how to go on.
Index common_tokens(const std::vector<Token>& before, const std::vector<Token>& now) {
  const auto differs = std::mismatch(now.begin(), now.end(), before.begin(), before.end()).first;
  return std::min<Index>(differs - now.begin(), static_cast<Index>(now.size()) - 1);
}

}  // namespace

std::vector<double> even_depths(Index count) {
  if (count == 1) return {0.5};
  std::vector<double> depths;
  for (Index k = 0; k < count; ++k)
    depths.push_back(0.1 + 0.8 * static_cast<double>(k) / static_cast<double>(count - 1));
  return depths;
}

std::vector<std::size_t> deepest_first(std::span<const double> depths) {
  std::vector<std::size_t> order(depths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return depths[a] > depths[b]; });
  return order;
}

double reading_work(const LlamaConfig& config, Index from, Index to) {
  // Queries and outputs, keys and values, three matrices of the feed-forward; scores and sums take 2 * width per key.
  const Index weights = config.width * (2 * config.width + 2 * config.kv_heads * config.head_dim + 3 * config.hidden);
  const double keys = static_cast<double>(from + to) / 2;
  return static_cast<double>(to - from) * (static_cast<double>(weights) / static_cast<double>(2 * config.width) + keys);
}

void answer_in_turn(Session& session, std::span<const std::vector<Token>> prompts, const AnswerPrompt& answer,
                    const ProgressCallback& progress) {
  std::vector<Index> common(prompts.size(), 0);
  std::vector<double> work;
  for (std::size_t k = 0; k < prompts.size(); ++k) {
    if (k > 0) common[k] = common_tokens(prompts[k - 1], prompts[k]);
    work.push_back(reading_work(session.model().config(), common[k], static_cast<Index>(prompts[k].size())));
  }
  const double all = std::accumulate(work.begin(), work.end(), 0.0);
  double done = 0;
  session.truncate(0);
  for (std::size_t k = 0; k < prompts.size(); ++k) {
    session.truncate(common[k]);
    answer(k, std::span(prompts[k]).subspan(static_cast<std::size_t>(common[k])),
           [&](double share) { progress((done + share * work[k]) / all); });
    done += work[k];
  }
}

}  // namespace dca_lm
