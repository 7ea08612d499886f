#include "literal_finder.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <tuple>

#include "error.hpp"

namespace dca_lm {

LiteralFinder::LiteralFinder(const std::vector<std::string_view>& literals) : nodes_(1) {
  for (const std::string_view literal : literals) {
    add(literal, static_cast<Number>(lengths_.size()));
    lengths_.push_back(literal.size());
  }
  link();
}

LiteralFinder::Number LiteralFinder::child_of(Number parent, char byte) const {
  Number child = node(parent).child;
  while (child != 0 && node(child).byte != byte) child = node(child).sibling;
  return child;
}

/// The longest beginning of `byte` and the node `from` that is a node.
LiteralFinder::Number LiteralFinder::step(Number from, char byte) const {
  for (;; from = node(from).fallback) {
    const Number child = child_of(from, byte);
    if (child != 0 || from == 0) return child;
  }
}

void LiteralFinder::add(std::string_view literal, Number number) {
  Number at = 0;
  for (auto byte = literal.rbegin(); byte != literal.rend(); ++byte) {
    Number next = child_of(at, *byte);
    if (next == 0) {
      if (nodes_.size() > static_cast<std::size_t>(std::numeric_limits<Number>::max())) {
        throw Error("tokenizer: the tokens defined for users have 2 GiB or more together");
      }
      next = static_cast<Number>(nodes_.size());
      nodes_.push_back({.sibling = node(at).child, .byte = *byte});
      node(at).child = next;
    }
    at = next;
  }
  if (node(at).literal < 0) node(at).literal = number;  // else it stands there a second time
}

/// Shorter nodes first: theirs are what longer ones are linked with.
void LiteralFinder::link() {
  std::vector<Number> numbers = {0};
  for (std::size_t k = 0; k < numbers.size(); ++k) {
    const Number parent = numbers[k];
    for (Number child = node(parent).child; child != 0; child = node(child).sibling) {
      const Number fallback = parent == 0 ? 0 : step(node(parent).fallback, node(child).byte);
      node(child).fallback = fallback;
      node(child).shorter = node(fallback).literal >= 0 ? fallback : node(fallback).shorter;
      numbers.push_back(child);
    }
  }
}

std::vector<LiteralFinder::Place> LiteralFinder::places(std::string_view text) const {
  std::vector<Place> found;
  if (lengths_.empty()) return found;
  // Of each place the longest literal there, and where that turns out to be taken in part, a shorter one.
  using Candidate = std::tuple<Number, std::size_t, Number>;  // a literal's number, its place and its node
  std::vector<Candidate> longest;
  Number state = 0;
  for (std::size_t at = text.size(); at-- > 0;) {
    state = step(state, text[at]);
    const Number there = node(state).literal >= 0 ? state : node(state).shorter;
    if (there != 0) longest.emplace_back(node(there).literal, at, there);
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates({}, std::move(longest));
  std::vector<bool> taken(text.size());
  // Of a literal whose first byte is not taken: what has been taken is no shorter and covers its last byte, or nothing.
  const auto is_taken = [&](Number literal, std::size_t first) {
    return taken[first + lengths_[static_cast<std::size_t>(literal)] - 1];
  };
  while (!candidates.empty()) {
    auto [literal, first, there] = candidates.top();
    candidates.pop();
    if (taken[first]) continue;
    if (!is_taken(literal, first)) {
      const auto size = static_cast<std::ptrdiff_t>(lengths_[static_cast<std::size_t>(literal)]);
      std::fill_n(taken.begin() + static_cast<std::ptrdiff_t>(first), size, true);
      found.push_back({first, static_cast<std::size_t>(literal)});
      continue;
    }
    do there = node(there).shorter;
    while (there != 0 && is_taken(node(there).literal, first));
    if (there != 0) candidates.emplace(node(there).literal, first, there);
  }
  std::sort(found.begin(), found.end(), [](const Place& a, const Place& b) { return a.first < b.first; });
  return found;
}

}  // namespace dca_lm
