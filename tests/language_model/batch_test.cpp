// Prompts continued side by side: the same as one by one.
#include "batch.hpp"

#include <algorithm>

#include "error_of.hpp"
#include "support/catch.hpp"
#include "wide_model.hpp"

using namespace dca_lm_test;
using dca_lm::BatchOptions;
using dca_lm::BatchRun;
using dca_lm::CacheSize;
using dca_lm::Comparison;
using dca_lm::Continuation;
using dca_lm::Piece;
using dca_lm::Session;
using dca_test::contains;
using Prompts = std::vector<std::vector<Token>>;

namespace {

const Choice dca_choice{.name = "dca", .chunk_size = 24, .local_window = 8};

Choice stored_as(const char* kv_type) {
  Choice choice = dca_choice;
  choice.kv_type = kv_type;
  return choice;
}

/// A model and prompts of 1 to 70 tokens.
struct Batch {
  explicit Batch(std::uint64_t stream) : wide(stream) {
    for (const std::ptrdiff_t length : {30, 1, 70, 17, 3}) prompts.push_back(wide.tokens(length));
  }

  BatchRun batched(const Choice& choice, const CacheSize& size, const BatchOptions& options,
                   const dca_lm::ProgressCallback& progress = nullptr) const {
    const OpenModel::Parts& parts = wide.model.parts();
    const dca_lm::Attention attention = parts.attention(choice);
    Session session(parts.model, attention, parts.executor, size, storage_of(choice));
    return dca_lm::run_batch(session, size, prompts, options, progress);
  }
  BatchRun alone(const Choice& choice, const BatchOptions& options,
                 const dca_lm::ProgressCallback& progress = nullptr) const {
    const OpenModel::Parts& parts = wide.model.parts();
    return dca_lm::run_one_by_one(parts.model, parts.attention(choice), parts.executor, storage_of(choice), prompts,
                                  options, progress);
  }

  WideModel wide;
  Prompts prompts;
};

/// Blocks for all prompts at once.
CacheSize room_for_all(const Prompts& prompts, std::ptrdiff_t tokens, std::ptrdiff_t block_size) {
  CacheSize size{.sequences = static_cast<std::ptrdiff_t>(prompts.size()), .block_size = block_size};
  for (const auto& prompt : prompts)
    size.tokens += dca_lm::blocks_needed(prompt.size(), tokens, block_size) * block_size;
  return size;
}

void check_same(const BatchRun& batched, const BatchRun& alone) {
  REQUIRE(batched.continuations.size() == alone.continuations.size());
  for (std::size_t k = 0; k < batched.continuations.size(); ++k) {
    INFO("prompt " << k);
    CHECK_FALSE(dca_lm::compare(batched.continuations[k], alone.continuations[k]).mismatch);
    CHECK(batched.continuations[k].tokens.size() == batched.continuations[k].gaps.size());
  }
}

/// Continuations of these tokens, with the same gap at each.
Continuation continuation(const std::vector<Token>& tokens, double gap) {
  return {tokens, std::vector<double>(tokens.size(), gap)};
}

}  // namespace

TEST_CASE("prompts side by side are continued as one by one, whatever the cache holds and however it is cut") {
  const Batch batch(70);
  for (const char* const type : kv_types) {
    const Choice choice = stored_as(type);
    for (const std::ptrdiff_t chunk : {1, 20, 100}) {
      const BatchOptions options{.tokens = 12, .prefill_chunk = chunk};
      const BatchRun alone = batch.alone(choice, options);
      for (const std::ptrdiff_t block_size : {1, 7, 64}) {
        INFO(type << ", blocks of " << block_size << ", " << chunk << " at a time");
        const BatchRun batched = batch.batched(choice, room_for_all(batch.prompts, 12, block_size), options);
        check_same(batched, alone);
        CHECK(batched.steps < alone.steps);
        // The short prompts are read while the long ones still come.
        if (chunk < 70) CHECK(batched.mixed_steps > 0);
        for (const Continuation& one : batched.continuations) CHECK(one.tokens.size() == 12);
      }
    }
  }
}

TEST_CASE("prompts wait for blocks, and take those of others that have ended") {
  const Batch batch(71);
  const BatchOptions options{.tokens = 9, .prefill_chunk = 16};
  const BatchRun alone = batch.alone(dca_choice, options);
  const std::ptrdiff_t least = dca_lm::blocks_needed(70, 9, 8);
  for (const std::ptrdiff_t blocks : {least, least + 3, least + 8}) {
    INFO(blocks << " blocks");
    const CacheSize size{.sequences = 5, .tokens = blocks * 8, .block_size = 8};
    check_same(batch.batched(dca_choice, size, options), alone);
  }
  const CacheSize too_few{.sequences = 5, .tokens = (least - 1) * 8, .block_size = 8};
  CHECK_THAT(error_of([&] { batch.batched(dca_choice, too_few, options); }),
             contains("prompt 3 needs 10 blocks of 8 tokens; there are 9"));
  BatchOptions named = options;
  named.names = {"a", "b", "c\n", "d", "e"};
  CHECK_THAT(error_of([&] { batch.batched(dca_choice, too_few, named); }), contains("c\\x0a needs 10 blocks"));
}

TEST_CASE("progress of prompts side by side and one by one rises with every step, to the whole") {
  const Batch batch(75);
  BatchOptions options{.tokens = 12, .prefill_chunk = 20};
  const CacheSize size = room_for_all(batch.prompts, 12, 16);
  const Token end = batch.alone(dca_choice, options).continuations[2].tokens[4];
  for (const bool ends : {false, true}) {
    if (ends) options.ends = {end};
    std::vector<double> shares;
    const auto take = [&](double share) { shares.push_back(share); };
    const auto check_rises = [&](const BatchRun& run) {
      INFO("of " << run.steps << " steps, ends: " << ends);
      REQUIRE(static_cast<std::ptrdiff_t>(shares.size()) >= run.steps);
      CHECK(shares.front() > 0);
      CHECK(std::is_sorted(shares.begin(), shares.end()));
      CHECK(shares.back() <= 1);
    };
    check_rises(batch.batched(dca_choice, size, options, take));
    CHECK(shares.back() == 1);
    shares.clear();
    check_rises(batch.alone(dca_choice, options, take));
    if (!ends) CHECK(shares.back() == 1);
  }
}

TEST_CASE("a sequence that ends leaves the batch") {
  const Batch batch(72);
  const BatchRun free =
      batch.batched(dca_choice, room_for_all(batch.prompts, 10, 16), {.tokens = 10, .prefill_chunk = 9});
  const Token end = free.continuations[0].tokens[4];
  const BatchOptions options{.tokens = 10, .prefill_chunk = 9, .ends = {end}};
  const BatchRun ended = batch.batched(dca_choice, room_for_all(batch.prompts, 10, 16), options);
  for (std::size_t k = 0; k < batch.prompts.size(); ++k) {
    const std::vector<Token>& all = free.continuations[k].tokens;
    CHECK(ended.continuations[k].tokens == std::vector<Token>(all.begin(), std::find(all.begin(), all.end(), end)));
  }
}

TEST_CASE("a piece gives the same bits in any company") {
  WideModel wide(73);
  const OpenModel::Parts& parts = wide.model.parts();
  const dca_lm::Attention attention = parts.attention(dca_choice);
  const CacheSize size{.sequences = 4, .tokens = 400, .block_size = 16};
  Session together(parts.model, attention, parts.executor, size), alone(parts.model, attention, parts.executor, size);
  // Pieces of few rows and of many, in steps that mix them.
  const std::ptrdiff_t steps[][4] = {{40, 3, 20, 1}, {1, 60, 1, 17}, {1, 1, 1, 16}};
  for (const auto& counts : steps) {
    std::vector<std::vector<Token>> tokens;
    std::vector<Piece> pieces;
    for (const std::ptrdiff_t count : counts) tokens.push_back(wide.tokens(count));
    for (const std::ptrdiff_t k : {2, 0, 3, 1}) pieces.push_back({k, tokens[static_cast<std::size_t>(k)]});
    const dca_lm::Matrix states = together.read(pieces);
    for (std::size_t k = 0; k < pieces.size(); ++k) {
      INFO("sequence " << pieces[k].sequence);
      CHECK((alone.read({&pieces[k], 1}).row(0) == states.row(static_cast<std::ptrdiff_t>(k))));
    }
  }
}

TEST_CASE("continuations are compared up to the first difference, which a tie explains") {
  const auto check = [](const Continuation& a, const Continuation& b, std::ptrdiff_t differs_at, bool mismatch) {
    for (const Comparison& one : {dca_lm::compare(a, b), dca_lm::compare(b, a)}) {
      CHECK(one.differs_at == differs_at);
      CHECK(one.mismatch == mismatch);
    }
  };
  check(continuation({1, 2, 3}, 1), continuation({1, 2, 3}, 1), -1, false);
  check(continuation({}, 1), continuation({}, 1), -1, false);
  check(continuation({1, 2, 3}, 1), continuation({1, 4, 3}, 1), 1, true);
  check(continuation({1, 2, 3}, 1e-4), continuation({1, 4, 5}, 1), 1, false);
  check(continuation({1, 2, 3}, 2e-3), continuation({1, 4, 5}, 2e-3), 1, true);
  check(continuation({1, 2}, 1e-4), continuation({1, 2, 3}, 1e-4), 2, false);
  check(continuation({1, 2}, 1), continuation({1, 2, 3}, 1), 2, true);
}

TEST_CASE("batches that cannot be are refused by name") {
  Batch batch(74);
  const CacheSize size = room_for_all(batch.prompts, 4, 16);
  const auto refusal = [&](const BatchOptions& options) {
    return error_of([&] { batch.batched(dca_choice, size, options); });
  };
  CHECK_THAT(refusal({.tokens = 0, .prefill_chunk = 8}), contains("--tokens 0; must be at least 1"));
  CHECK_THAT(refusal({.tokens = 4, .prefill_chunk = 0}), contains("--prefill-chunk 0; must be at least 1"));
  CHECK_THAT(error_of([] { dca_lm::blocks_needed(5, 4, 0); }), contains("--block-size 0; must be at least 1"));
  batch.prompts[1].clear();
  CHECK_THAT(refusal({.tokens = 4, .prefill_chunk = 8}), contains("prompt 2 is empty"));
  const BatchOptions named{.tokens = 4, .prefill_chunk = 8, .names = {"a", "b", "c", "d", "e"}};
  CHECK_THAT(refusal(named), contains("b is empty"));
  CHECK_THAT(error_of([&] { batch.alone(dca_choice, named); }), contains("b is empty"));
  CHECK_THAT(refusal({.tokens = 4, .prefill_chunk = 8, .names = {"a"}}), contains("1 names; there are 5 prompts"));
  batch.prompts.clear();
  CHECK_THAT(refusal({.tokens = 4, .prefill_chunk = 8}), contains("no prompts"));
}

TEST_CASE("steps that a session cannot read are refused and change nothing") {
  WideModel wide(75);
  const OpenModel::Parts& parts = wide.model.parts();
  const dca_lm::Attention attention = parts.attention(dca_choice);
  const CacheSize size{.sequences = 2, .tokens = 32, .block_size = 8};
  Session session(parts.model, attention, parts.executor, size), other(parts.model, attention, parts.executor, size);
  const std::vector<Token> tokens = wide.tokens(40);
  const auto piece = [&](std::ptrdiff_t sequence, std::size_t count) {
    return Piece{sequence, std::span(tokens).first(count)};
  };
  const std::vector<Piece> first = {piece(0, 10), piece(1, 9)};
  CHECK((session.read(first) == other.read(first)));
  const auto refusal = [&](const std::vector<Piece>& pieces) { return error_of([&] { session.read(pieces); }); };
  CHECK_THAT(refusal({piece(2, 1)}), contains("sequence 2; must be from 0 to 1"));
  CHECK_THAT(refusal({piece(-1, 1)}), contains("sequence -1"));
  CHECK_THAT(refusal({piece(0, 1), piece(0, 1)}), contains("sequence 0 comes twice"));
  CHECK_THAT(refusal({piece(0, 1), piece(1, 0)}), contains("0 tokens after 9"));
  CHECK_THAT(refusal({piece(0, 7), piece(1, 7)}), contains("the sequences need 5 blocks of 8 tokens; there are 4"));
  CHECK(session.length(0) == 10);
  CHECK(session.length(1) == 9);
  const std::vector<Piece> next = {piece(1, 7), piece(0, 6)};
  CHECK((session.read(next) == other.read(next)));
}
