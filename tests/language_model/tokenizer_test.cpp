// Byte-level BPE on vocabularies small enough to follow by hand, and against the definition at random.
#include "tokenizer.hpp"

#include <algorithm>

#include "bpe_definition.hpp"
#include "error_of.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_lm::Token;
using dca_test::contains;

namespace {

using Words = std::vector<std::string>;

/// A tokenizer of `tokens` and what `merges` make of them, through a file.
class SmallTokenizer {
 public:
  SmallTokenizer(Words tokens, const Merges& merges, const std::string& pre = "gpt-2")
      : tokens_(tokens), file_(contents(tokens, merges, pre)), opened_(file_.path()), tokenizer_(opened_) {
    for (const auto& [left, right] : merges) tokens_.push_back(left + right);
  }

  const dca_lm::Tokenizer& tokenizer() const { return tokenizer_; }

  /// The tokens of a text, as they are written in the vocabulary.
  Words cut(const std::string& text) const {
    Words words;
    for (const Token token : tokenizer_.encode(text)) words.push_back(tokens_.at(static_cast<std::size_t>(token)));
    return words;
  }

 private:
  static std::string contents(const Words& tokens, const Merges& merges, const std::string& pre) {
    GgufContents file;
    set_tokenizer(file, tokens, merges, pre);
    return file.bytes();
  }

  Words tokens_;
  TempFile file_;
  dca_lm::GgufFile opened_;
  dca_lm::Tokenizer tokenizer_;
};

/// Text of characters of one to four bytes, whitespace and digits among them.
std::string random_text(Random& random) {
  const Words characters = {"a",
                            "Z",
                            "t",
                            "h",
                            "e",
                            " ",
                            " ",
                            "  ",
                            "\n",
                            "\r\n",
                            "\t",
                            "0",
                            "12",
                            "'s",
                            "'",
                            "-",
                            "\xc3\xa9",
                            "\xc2\xad",
                            "\xc2\xa0",
                            "\xe2\x82\xac",
                            "\xe6\x97\xa5",
                            "\xf0\x9f\x99\x82",
                            std::string(1, '\0'),
                            "\x7f",
                            "\xd9\xa3",
                            "\xe2\x80\x83"};
  std::string text;
  for (auto k = random.integer(0, 40); k > 0; --k) {
    text += characters[static_cast<std::size_t>(random.integer(0, static_cast<std::ptrdiff_t>(characters.size()) - 1))];
  }
  return text;
}

}  // namespace

TEST_CASE("the pair of the lowest rank merges first") {
  const Words letters = {"a", "b", "c"};
  CHECK(SmallTokenizer(letters, {{"a", "b"}, {"b", "c"}}).cut("abc") == Words{"ab", "c"});
  CHECK(SmallTokenizer(letters, {{"b", "c"}, {"a", "b"}}).cut("abc") == Words{"a", "bc"});
  CHECK(SmallTokenizer(letters, {{"b", "c"}, {"a", "b"}, {"a", "bc"}}).cut("abc") == Words{"abc"});
  // "a b" has the lower rank in both places, so that "bc" never comes to be.
  CHECK(SmallTokenizer(letters, {{"a", "b"}, {"b", "c"}, {"ab", "ab"}}).cut("ababc") == Words{"abab", "c"});
}

TEST_CASE("of pairs of one rank the leftmost merges first") {
  CHECK(SmallTokenizer({"a"}, {{"a", "a"}}).cut("aaa") == Words{"aa", "a"});
  CHECK(SmallTokenizer({"a"}, {{"a", "a"}, {"aa", "a"}}).cut("aaaaa") == Words{"aa", "aaa"});
  CHECK(SmallTokenizer({"a", "b"}, {{"a", "b"}, {"b", "a"}}).cut("babab") == Words{"b", "ab", "ab"});
}

TEST_CASE("merges are those of the definition, for random merges and words") {
  Random random(8);
  for (int round = 0; round < 100; ++round) {
    Words tokens = {"a", "b", "c"};
    Merges merges;
    const auto any = [&] {
      return tokens[static_cast<std::size_t>(random.integer(0, static_cast<std::ptrdiff_t>(tokens.size()) - 1))];
    };
    while (merges.size() < 12) {
      const std::string left = any(), right = any();
      if (left.size() + right.size() > 8 || std::count(tokens.begin(), tokens.end(), left + right) > 0) continue;
      merges.emplace_back(left, right);
      tokens.push_back(left + right);
    }
    const SmallTokenizer small({"a", "b", "c"}, merges);
    for (int k = 0; k < 20; ++k) {
      std::string word;
      for (auto length = random.integer(1, 30); length > 0; --length)
        word += static_cast<char>('a' + random.integer(0, 2));
      INFO("round " << round << ", word " << word);
      REQUIRE(small.cut(word) == cut_by_definition(word, merges));
    }
  }
}

TEST_CASE("merges do not reach across words") {
  const SmallTokenizer small(printable_bytes(), {{"a", "b"}, {"\xc4\xa0", "a"}, {"b", "\xc4\xa0"}});
  CHECK(small.cut("ab ab") == Words{"ab", "\xc4\xa0", "ab"});
  CHECK(small.cut("a b") == Words{"a", "\xc4\xa0", "b"});
}

TEST_CASE("smollm cuts numbers into digits, gpt-2 does not") {
  const Merges merges = {{"1", "2"}, {"\xc4\xa0", "1"}, {"a", "1"}};
  const SmallTokenizer smollm(printable_bytes(), merges, "smollm"), gpt2(printable_bytes(), merges, "gpt-2");
  CHECK(smollm.cut("12 12a12") == Words{"1", "2", "\xc4\xa0", "1", "2", "a", "1", "2"});
  CHECK(gpt2.cut("12 12a12") == Words{"12", "\xc4\xa0", "12", "a", "12"});
}

TEST_CASE("white space is what Unicode says it is") {
  // After white space, but for a space, "'s" is a word of its own; other characters take the apostrophe.
  const auto cut_before_s = [](const std::string& character, const std::string& pre) {
    const Words words = SmallTokenizer(printable_bytes(), {{"'", "s"}}, pre).cut(character + "'s");
    return words.back() == "'s";
  };
  const Words spaces = {"\t",           "\n",           "\v",           "\f",           "\r",           "\xc2\x85",
                        "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83",
                        "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89",
                        "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
  // U+180E, which Unicode once called white space, U+200B, U+2060 and U+FEFF.
  const Words others = {"\xe1\xa0\x8e", "\xe2\x80\x8b", "\xe2\x81\xa0", "\xef\xbb\xbf"};
  for (const std::string pre : {"smollm", "gpt-2"}) {
    for (const std::string& character : spaces) {
      INFO(pre << ", white space number " << &character - spaces.data());
      CHECK(cut_before_s(character, pre));
    }
    for (const std::string& character : others) {
      INFO(pre << ", other character number " << &character - others.data());
      CHECK_FALSE(cut_before_s(character, pre));
    }
  }
}

TEST_CASE("the pre-tokenizer is gpt-2 where the file names none") {
  GgufContents contents;
  set_tokenizer(contents, printable_bytes(), {{"1", "2"}});
  contents.erase("tokenizer.ggml.pre");
  const TempFile file(contents.bytes());
  const dca_lm::GgufFile opened(file.path());
  CHECK(dca_lm::Tokenizer(opened).encode("12") == std::vector<Token>{256});
}

TEST_CASE("an empty text has no tokens") {
  CHECK(SmallTokenizer({"a"}, {}).cut("").empty());
  CHECK(SmallTokenizer({"a"}, {}, "smollm").cut("").empty());
  CHECK(SmallTokenizer({"a"}, {}).tokenizer().decode({}).empty());
}

TEST_CASE("a byte without a token is refused by its number") {
  const SmallTokenizer small({"a"}, {});
  CHECK_THAT(error_of([&] { small.tokenizer().encode("aab"); }), contains("no token for byte 98 (in \"aab\")"));
  CHECK_THAT(error_of([&] { small.tokenizer().encode("a\xc3\xa9"); }), contains("no token for byte 195"));
}

TEST_CASE("text that is not UTF-8 is refused, naming the byte") {
  for (const std::string pre : {"smollm", "gpt-2"}) {
    const SmallTokenizer small(printable_bytes(), {}, pre);
    const auto refusal = [&](const std::string& text) { return error_of([&] { small.tokenizer().encode(text); }); };
    CHECK_THAT(refusal("ab\xff"), contains("text: not UTF-8 at byte 2"));
    CHECK_THAT(refusal("ab 12\x80 c"), contains("text: not UTF-8 at byte 5"));
    CHECK_THAT(refusal("a 1 b \xc3"), contains("text: not UTF-8 at byte 6"));           // cut short
    CHECK_THAT(refusal("\xe2\x82"), contains("text: not UTF-8 at byte 0"));             // cut short
    CHECK_THAT(refusal("1\xc0\xaf"), contains("text: not UTF-8 at byte 1"));            // longer than needed
    CHECK_THAT(refusal("\xed\xa0\x80"), contains("text: not UTF-8 at byte 0"));         // half of a surrogate pair
    CHECK_THAT(refusal("abc\xf4\x90\x80\x80"), contains("text: not UTF-8 at byte 3"));  // beyond Unicode
    std::string late(100000, 'a');
    late.push_back('\xff');
    CHECK_THAT(refusal(late), contains("not UTF-8 at byte 100000"));
  }
}

TEST_CASE("decoding gives back what was encoded") {
  Random random(9);
  const Merges merges = {
      {"t", "h"}, {"th", "e"}, {"\xc4\xa0", "the"}, {"\xc3\xa2", "\xc4\xa4"}, {"\xc4\xa0", "\xc4\xa0"}};
  for (const std::string pre : {"smollm", "gpt-2"}) {
    const SmallTokenizer small(printable_bytes(), merges, pre);
    for (int k = 0; k < 300; ++k) {
      const std::string text = random_text(random);
      REQUIRE(small.tokenizer().decode(small.tokenizer().encode(text)) == text);
    }
  }
}

TEST_CASE("tokens outside GPT-2's alphabet decode to themselves") {
  // A special token may have spaces or any other characters.
  const SmallTokenizer small({"a", "<|end of text|>", "\xe6\x97\xa5", "\xc3"}, {});
  CHECK(small.tokenizer().size() == 4);
  CHECK(small.tokenizer().decode(std::vector<Token>{1, 0, 2, 3}) == "<|end of text|>a\xe6\x97\xa5\xc3");
}

TEST_CASE("tokens that the vocabulary does not have are refused") {
  const SmallTokenizer small({"a", "b"}, {});
  CHECK_THAT(error_of([&] {
               small.tokenizer().decode(std::vector<Token>{0, 2});
             }),
             contains("token 2; must be in [0, 2)"));
  CHECK_THAT(error_of([&] { small.tokenizer().decode(std::vector<Token>{-1}); }), contains("token -1"));
}

TEST_CASE("merges that are not of two known tokens into one are refused by their number") {
  for (const char* const merge : {"a x", "x a", "ab", "", " ", "a ", "b a"}) {
    GgufContents contents;
    set_tokenizer(contents, {"a", "b", "ab"}, {});
    contents.set("tokenizer.ggml.merges", array<std::string>({"a b", merge}));
    const TempFile file(contents.bytes());
    const dca_lm::GgufFile opened(file.path());
    CHECK_THAT(error_of([&] { const dca_lm::Tokenizer tokenizer(opened); }),
               contains("merge 1 (" + std::string(merge) + ") is not of two known tokens"));
  }
}
