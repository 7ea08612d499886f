#include "perplexity.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>

#include "error.hpp"
#include "tasks.hpp"

namespace dca_lm {
namespace {

constexpr double layers_share = 0.85;      // of the time; the rest is the product with the vocabulary
constexpr Index tokens_of_a_piece = 8192;  // enough for the products, few enough that states do not rival the cache

/// Writes the negative log likelihoods of targets[r] after hidden row r. Throws Error where logits are not finite.
void score(const Session& session, const Matrix& hidden, std::span<const Token> targets, std::span<double> nll,
           const NameRow& name, const ProgressCallback& progress) {
  constexpr Index rows_per_task = 256;  // enough for the products
  const auto count = static_cast<Index>(targets.size());
  std::atomic<Index> done{0};
  std::mutex reporting;
  for_tasks(session.executor(), (count + rows_per_task - 1) / rows_per_task, [&](Index task) {
    const Index first = task * rows_per_task, rows = std::min(rows_per_task, count - first);
    const auto at = static_cast<std::size_t>(first), size = static_cast<std::size_t>(rows);
    session.model().negative_log_likelihoods(hidden.middleRows(first, rows), targets.subspan(at, size),
                                             nll.subspan(at, size));
    done += rows;
    const std::lock_guard<std::mutex> lock(reporting);
    progress(static_cast<double>(done) / static_cast<double>(count));
  });
  const auto bad = std::find_if(nll.begin(), nll.end(), [](double value) { return std::isnan(value); });
  if (bad != nll.end()) throw not_finite(name(bad - nll.begin()));
}

/// Reads tokens[first, last) as a text of its own, in pieces, and scores what follows each of those from `from` on.
void score_window(Session& session, std::span<const Token> tokens, Index first, Index from, Index last,
                  std::span<double> nll, const ProgressCallback& progress) {
  const auto part = [](auto span, Index begin, Index end) {
    return span.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  };
  // Attention takes as long as there are tokens before: a piece's share of the time lies between its share of the
  // tokens and of the pairs.
  const auto time = [&](Index end) {
    const double share = static_cast<double>(end - first) / static_cast<double>(last - first);
    return share * (1 + share) / 2;
  };
  session.truncate(0);
  for (Index begin = first; begin < last; begin += tokens_of_a_piece) {
    const Index end = std::min(begin + tokens_of_a_piece, last), scored = std::max(begin, from);
    const double done = time(begin), share_of_all = time(end) - done;
    const double reading = scored < end ? layers_share : 1;
    const Matrix hidden = session.read(part(tokens, begin, end), std::max<Index>(0, end - scored),
                                       [&](double share) { progress(done + share_of_all * share * reading); });
    if (scored >= end) continue;
    score(session, hidden, part(tokens, scored + 1, end + 1), part(nll, scored, end), positions_from(scored),
          [&](double share) { progress(done + share_of_all * (reading + (1 - reading) * share)); });
  }
}

Index checked_count(std::span<const Token> tokens) {
  if (tokens.size() < 2) {
    throw Error(std::to_string(tokens.size()) + " tokens; at least 2 are needed, one to predict the other");
  }
  return static_cast<Index>(tokens.size()) - 1;
}

}  // namespace

std::vector<double> negative_log_likelihoods(Session& session, std::span<const Token> tokens,
                                             const ProgressCallback& progress) {
  return last_negative_log_likelihoods(session, tokens, checked_count(tokens), progress);
}

std::vector<double> last_negative_log_likelihoods(Session& session, std::span<const Token> tokens, Index count,
                                                  const ProgressCallback& progress) {
  const Index all = checked_count(tokens);
  if (count < 1 || count > all) {
    throw Error(std::to_string(count) + " tokens to score; must be from 1 to " + std::to_string(all));
  }
  std::vector<double> nll(static_cast<std::size_t>(all));
  score_window(session, tokens, 0, all - count, all, nll, progress);
  nll.erase(nll.begin(), nll.end() - count);
  return nll;
}

std::vector<double> negative_log_likelihoods(Session& session, std::span<const Token> tokens,
                                             const SlidingContext& context, const ProgressCallback& progress) {
  const Index count = checked_count(tokens);
  if (context.step < 1 || context.step > context.tokens) {
    throw Error("a step of " + std::to_string(context.step) + "; must be from 1 to the context, " +
                std::to_string(context.tokens));
  }
  std::vector<double> nll(static_cast<std::size_t>(count));
  std::vector<Token> text(tokens.begin(), tokens.end());
  const Index head = context.tokens - context.tokens % context.step;
  for (Index from = 0; from < count;) {
    const Index last = std::min(from == 0 ? head : from + context.step, count);
    const double done = static_cast<double>(from) / static_cast<double>(count);
    const double share_of_all = static_cast<double>(last - from) / static_cast<double>(count);
    const Index first = std::max<Index>(0, last - context.tokens);
    Token& beginning = text[static_cast<std::size_t>(first)];  // no target of this context
    if (context.start && first > 0) beginning = *context.start;
    score_window(session, text, first, from, last, nll, [&](double share) { progress(done + share_of_all * share); });
    beginning = tokens[static_cast<std::size_t>(first)];
    from = last;
  }
  return nll;
}

double perplexity_of(std::span<const double> nll) {
  const double mean = std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(nll.size());
  return std::min(std::exp(mean), std::numeric_limits<double>::max());
}

std::vector<PerplexityBucket> perplexity_buckets(std::span<const double> nll, Index bucket) {
  std::vector<PerplexityBucket> buckets;
  const auto count = static_cast<Index>(nll.size());
  for (Index from = 0; from < count; from += bucket) {
    const Index to = std::min(from + bucket, count);
    buckets.push_back(
        {from, to, perplexity_of(nll.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from)))});
  }
  return buckets;
}

}  // namespace dca_lm
