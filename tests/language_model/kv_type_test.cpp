// The types that a session keeps keys and values as.
#include <cmath>

#include "error_of.hpp"
#include "open_model_parts.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_test::contains;

namespace {

/// A type, how far a stored element may be from what it stands for as a share of the largest of its row, and the bytes
/// of a row of 32.
struct Type {
  const char* name;
  double rounding;
  std::ptrdiff_t row_bytes;
};

const Type types[] = {{"float", 0x1p-24, 128},
                      {"half", 0x1p-11, 64},
                      {"bfloat16", 0x1p-8, 64},
                      {"int8", 1 / 254.0, 36},
                      {"int4", 1 / 14.0, 20}};

/// Heads of 32, as int4 needs them.
const TinySizes wide{.width = 128, .heads = 4, .kv_heads = 2, .hidden = 64, .rotary_dim = 32};

struct Wide {
  explicit Wide(std::uint64_t stream)
      : random(stream), file(make_tiny_model(wide, random).bytes()), model(file.path()) {
    for (int k = 0; k < 90; ++k) {
      tokens.push_back(static_cast<Token>(random.integer(0, static_cast<std::ptrdiff_t>(tiny_vocabulary()) - 1)));
    }
  }

  Random random;
  TempFile file;
  OpenModel model;
  std::vector<Token> tokens;
};

std::vector<Choice> choices_of(const Type& type) {
  return {{.name = "rope", .kv_type = type.name},
          {.name = "dca", .chunk_size = 24, .local_window = 8, .kv_type = type.name}};
}

/// Root of the mean square of the differences, in nats.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double sum = 0;
  for (std::size_t k = 0; k < a.size(); ++k) sum += std::pow(static_cast<double>(a[k]) - static_cast<double>(b[k]), 2);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

}  // namespace

TEST_CASE("log probabilities are off by as much as the type of the cache rounds") {
  const Wide wide_model(40);
  for (const Type& type : types) {
    for (Choice choice : choices_of(type)) {
      const std::vector<float> rounded = wide_model.model.log_probabilities(choice, wide_model.tokens);
      choice.kv_type = "float";
      const double off = distance(rounded, wide_model.model.log_probabilities(choice, wide_model.tokens));
      INFO(type.name << ", " << choice.name << ": off by " << off / type.rounding << " roundings");
      if (std::string(type.name) == "float") {
        CHECK(off == 0);
        continue;
      }
      // A layer's logits are sums of 32 products of about 1.6 * 1.6, so that an element's rounding changes weights by a
      // few roundings and, after two layers, log probabilities that differ by about 7 by a few times 7. The next type
      // is 8 or 18 times as coarse.
      CHECK(off > 3 * type.rounding);
      CHECK(off < 80 * type.rounding);
    }
  }
}

TEST_CASE("a text read in pieces is the text read at once, whatever the cache holds") {
  const Wide wide_model(41);
  for (const Type& type : types) {
    for (const Choice& choice : choices_of(type)) {
      const std::vector<float> whole = wide_model.model.log_probabilities(choice, wide_model.tokens);
      for (const std::ptrdiff_t step : {1, 17, 40}) {
        INFO(type.name << ", " << choice.name << ", " << step << " at a time");
        // Sums in another order may round a stored element to its neighbour, few of them, which later layers and tokens
        // see: less than all that the type rounds, for which 80 are allowed.
        CHECK(distance(whole, wide_model.model.log_probabilities(choice, wide_model.tokens, step)) <
              std::max(5e-5, 16 * type.rounding));
      }
    }
  }
}

TEST_CASE("what was truncated leaves no trace in any type of cache") {
  const Wide wide_model(42);
  const OpenModel::Parts& parts = wide_model.model.parts();
  const std::span<const Token> tokens(wide_model.tokens);
  for (const Type& type : types) {
    for (const Choice& choice : choices_of(type)) {
      INFO(type.name << ", " << choice.name);
      const dca_lm::Attention attention = parts.attention(choice);
      const dca_lm::KvStorage storage = storage_of(choice);
      dca_lm::Session fresh(parts.model, attention, parts.executor, {.tokens = 60}, storage);
      dca_lm::Session used(parts.model, attention, parts.executor, {.tokens = 60}, storage);
      fresh.read(tokens.first(25), 1);
      used.read(tokens.first(25), 1);
      used.read(tokens.last(35), 1);
      used.truncate(25);
      CHECK((used.read(tokens.subspan(25, 35), 35) == fresh.read(tokens.subspan(25, 35), 35)));
    }
  }
}

TEST_CASE("a cache takes the bytes of its type") {
  const Wide wide_model(43);
  const OpenModel::Parts& parts = wide_model.model.parts();
  for (const Type& type : types) {
    for (const Choice& choice : choices_of(type)) {
      const dca_lm::Attention attention = parts.attention(choice);
      const dca_lm::KvStorage storage = storage_of(choice);
      const dca_lm::Session session(parts.model, attention, parts.executor, {.tokens = 60}, storage);
      INFO(type.name);
      CHECK(session.cache_bytes() == wide.layers * 2 * 60 * wide.kv_heads * type.row_bytes);
      const dca_lm::CacheSize blocks{.sequences = 5, .tokens = 96, .block_size = 8};
      const dca_lm::Session paged(parts.model, attention, parts.executor, blocks, storage);
      CHECK(paged.cache_bytes() == wide.layers * 2 * 96 * wide.kv_heads * type.row_bytes);
    }
  }
}

TEST_CASE("types that cannot be are refused by name") {
  CHECK_THAT(error_of([] { dca_lm::kv_type_of("int2"); }), contains("--kv-type int2; must be float, half"));
  CHECK_THAT(error_of([] { dca_lm::kv_type_of(""); }), contains("--kv-type ;"));
  CHECK_THAT(error_of([] { dca_lm::key_offset_of("x"); }), contains("--key-offset x; must be auto or off"));
  CHECK_THAT(error_of([] { dca_lm::key_offset_of(""); }), contains("--key-offset ; must be auto or off"));
  Random random(44);
  const TempFile file(make_tiny_model({}, random).bytes());
  const OpenModel model(file.path());
  CHECK_THAT(error_of([&] {
               model.log_probabilities({.kv_type = "int4"}, {1, 2, 3});
             }),
             contains("--kv-type int4; it needs a head_dim that is a multiple of 32, the model's is 8"));
}

TEST_CASE("fewer than two tokens have no likelihoods") {
  const Wide wide_model(45);
  CHECK_THAT(error_of([&] { wide_model.model.negative_log_likelihoods({}, {}); }), contains("0 tokens; at least 2"));
  CHECK_THAT(error_of([&] { wide_model.model.negative_log_likelihoods({}, {1}); }), contains("1 tokens; at least 2"));
  CHECK(wide_model.model.negative_log_likelihoods({}, {1, 2}).size() == 1);
}
