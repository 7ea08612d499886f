// Literals in texts: those of the definition, and as fast for many as for one.
#include "literal_finder.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "support/catch.hpp"
#include "support/random.hpp"

using dca_test::Random;

namespace {

using Places = std::vector<std::pair<std::size_t, std::size_t>>;  // of the text, and the literal's number

Places places_of(const std::vector<std::string>& literals, const std::string& text) {
  const dca_lm::LiteralFinder finder({literals.begin(), literals.end()});
  Places places;
  for (const auto& [first, literal] : finder.places(text)) places.emplace_back(first, literal);
  return places;
}

/// Literal by literal, from left to right, each where nothing is taken yet.
Places places_by_definition(const std::vector<std::string>& literals, const std::string& text) {
  std::string left = text;
  constexpr char taken = '\0';  // in no literal
  Places places;
  for (std::size_t literal = 0; literal < literals.size(); ++literal) {
    const std::string& written = literals[literal];
    for (std::size_t at = 0; (at = left.find(written, at)) != std::string::npos; at += written.size()) {
      places.emplace_back(at, literal);
      std::fill_n(left.begin() + static_cast<std::ptrdiff_t>(at), written.size(), taken);
    }
  }
  std::sort(places.begin(), places.end());
  return places;
}

/// Of the first few letters, the last of which is a byte beyond ASCII.
std::string word(Random& random, std::ptrdiff_t length, std::ptrdiff_t letters) {
  std::string written;
  while (std::ssize(written) < length) {
    written += "ab\xe9"[static_cast<std::size_t>(random.integer(0, letters - 1))];
  }
  return written;
}

void sort_by_length(std::vector<std::string>& literals) {
  std::stable_sort(literals.begin(), literals.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
}

}  // namespace

TEST_CASE("literals take places as a search for one after the other finds them, the longest first") {
  Random random(90);
  for (int round = 0; round < 3000; ++round) {
    const std::ptrdiff_t letters = random.integer(1, 3), longest = random.integer(1, 12);
    std::vector<std::string> literals;  // some of them twice
    for (auto count = random.integer(0, 12); count > 0; --count) {
      literals.push_back(word(random, random.integer(1, longest), letters));
    }
    sort_by_length(literals);
    const std::string text = word(random, random.integer(0, 80), letters);
    INFO("round " << round << ", text " << text << ", literals " << Catch::Detail::stringify(literals));
    REQUIRE(places_of(literals, text) == places_by_definition(literals, text));
  }
}

TEST_CASE("a place that is taken in part goes to the longest literal that still fits there") {
  CHECK(places_of({"abcde", "zabc", "zab", "za", "e"}, "zabcdee") == Places{{1, 0}, {6, 4}});
  CHECK(places_of({"bcde", "aab", "aa", "a"}, "aabcde") == Places{{0, 2}, {2, 0}});
  CHECK(places_of({"aa", "aa"}, "aaaaa") == Places{{0, 0}, {2, 0}});
  CHECK(places_of({}, "text").empty());
  CHECK(places_of({"text"}, "").empty());
}

TEST_CASE("twenty thousand literals are found in a long text") {
  Random random(91);
  std::vector<std::string> literals;
  for (int number = 0; number < 20000; ++number) literals.emplace_back("<>").insert(1, std::to_string(number));
  sort_by_length(literals);
  std::string text;
  Places expected;
  while (text.size() < 2'000'000) {
    const auto literal = static_cast<std::size_t>(random.integer(0, std::ssize(literals) - 1));
    text += "<<123456>" + std::string(static_cast<std::size_t>(random.integer(0, 9)), '<');
    expected.emplace_back(text.size(), literal);
    text += literals[literal];
  }
  CHECK(places_of(literals, text) == expected);
}

TEST_CASE("literals that end as one another and stand everywhere are found in a long text") {
  std::vector<std::string> literals;
  for (std::size_t length = 1000; length > 0; --length) literals.emplace_back(length, 'a');
  Places expected;
  for (std::size_t at = 0; at < 1'000'000; at += 1000) expected.emplace_back(at, 0);
  expected.emplace_back(1'000'000, 1000 - 999);
  CHECK(places_of(literals, std::string(1'000'999, 'a')) == expected);
}
