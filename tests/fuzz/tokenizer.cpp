// Any bytes through a tokenizer and back.
#include "tokenizer.hpp"

#include "error.hpp"
#include "fuzz/small_tokenizer.hpp"

namespace dca_fuzz {
namespace {

void check_text(const SmallTokenizer& small, const std::string& text) {
  std::vector<dca_lm::Token> tokens;
  bool refused = false;
  try {
    tokens = small.tokenizer->encode(text);
  } catch (const dca_lm::Error&) {
    refused = true;
  }
  require(refused != is_utf8(text), "UTF-8 is refused, or something else is taken");
  if (!refused) require(small.tokenizer->decode(tokens) == text, "decoding gives another text");
}

void check_word(const SmallTokenizer& small, std::string word) {
  for (char& letter : word) letter = static_cast<char>('a' + static_cast<unsigned char>(letter) % 3);
  std::vector<std::string> parts;
  for (const dca_lm::Token token : small.tokenizer->encode(word)) {
    parts.push_back(small.tokens.at(static_cast<std::size_t>(token)));
  }
  require(parts == dca_lm_test::cut_by_definition(word, small.merges), "a word is not merged as defined");
}

void check_tokens(const SmallTokenizer& small, const std::string& numbers) {
  std::vector<dca_lm::Token> tokens;
  bool right = true;
  for (std::size_t k = 0; k + 1 < numbers.size(); k += 2) {
    const int number = static_cast<unsigned char>(numbers[k]) | static_cast<signed char>(numbers[k + 1]) * 256;
    tokens.push_back(number);
    right = right && number >= 0 && static_cast<std::size_t>(number) < small.tokenizer->size();
  }
  bool refused = false;
  try {
    small.tokenizer->decode(tokens);
  } catch (const dca_lm::Error&) {
    refused = true;
  }
  require(refused != right, "tokens that are not there are taken, or others refused");
}

/// Long texts of few kinds of characters: where time would grow faster than length, these would take forever.
std::string repeated(const std::string& text, std::size_t length) {
  std::string all;
  while (!text.empty() && all.size() < length) all += text;
  return all;
}

}  // namespace
}  // namespace dca_fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dca_fuzz;
  Bytes bytes(data, size);
  const SmallTokenizer& small = small_tokenizer(bytes);
  const auto kind = bytes.integer(0, 5);
  const std::string text = bytes.text(size);
  if (kind == 0) {
    check_word(small, text);
  } else if (kind == 1) {
    check_tokens(small, text);
  } else if (kind == 2) {
    check_text(small, repeated(text, std::size_t{1} << 16));
  } else {
    check_text(small, text);
  }
  return 0;
}
