// Literals in texts, the longest first.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace dca_lm {

/// Finds many literals in one pass (Aho and Corasick's automaton, from the end of a text to its beginning).
class LiteralFinder {
 public:
  /// None of `literals` is empty, and none longer than one before it. Takes about 24 bytes for each of theirs. Throws
  /// Error where they have 2 GiB or more together.
  explicit LiteralFinder(const std::vector<std::string_view>& literals);

  struct Place {
    std::size_t first;    // of the text
    std::size_t literal;  // by number
  };

  /// The places that the literals take, in the order of the text: literal by literal, from left to right, each takes
  /// where it stands what no place before has taken.
  std::vector<Place> places(std::string_view text) const;

  std::size_t length(std::size_t literal) const { return lengths_[literal]; }

 private:
  using Number = std::int32_t;  // of a node; 0 is the root, and stands for none

  /// A suffix of literals.
  struct Node {
    Number child = 0, sibling = 0;     // longer by a byte before it; another of its parent's
    Number fallback = 0, shorter = 0;  // its longest beginning that is a node, and one that is a literal
    Number literal = -1;               // that it is
    char byte = 0;                     // its first
  };

  const Node& node(Number number) const { return nodes_[static_cast<std::size_t>(number)]; }
  Node& node(Number number) { return nodes_[static_cast<std::size_t>(number)]; }
  Number child_of(Number parent, char byte) const;
  Number step(Number from, char byte) const;
  void add(std::string_view literal, Number number);
  void link();

  std::vector<std::size_t> lengths_;
  std::vector<Node> nodes_;
};

}  // namespace dca_lm
