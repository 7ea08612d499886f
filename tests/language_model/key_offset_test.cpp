// Keys that a bias dominates, in caches that take it off and in caches that do not.
#include <algorithm>
#include <cmath>
#include <limits>

#include "batch.hpp"
#include "error_of.hpp"
#include "program.hpp"
#include "wide_model.hpp"

using namespace dca_lm_test;
using dca_lm::CacheSize;
using dca_lm::KeyOffset;
using dca_lm::KvStorage;
using dca_lm::KvType;
using dca_lm::LayerCache;
using nlohmann::json;
namespace compiled = dca::compiled;

namespace {

constexpr std::ptrdiff_t heads = 4, kv_heads = 2, head_dim = 32;

/// Queries, keys and values. `bias` is that of keys, in two pairs of features that turn slowly, other ones per kv_head.
struct Text {
  Text(std::ptrdiff_t tokens, double bias, std::uint64_t stream) : count(tokens) {
    Random random(stream);
    query = random.normal<float>(count * heads * head_dim);
    key = random.normal<float>(count * kv_heads * head_dim);
    value = random.normal<float>(count * kv_heads * head_dim);
    for (std::size_t k = 0; k < key.size(); ++k) {
      const std::size_t feature = k % head_dim, head = k / head_dim % kv_heads;
      if (feature / 4 == 7 - head) key[k] += static_cast<float>(feature % 2 == 0 ? bias : -0.6 * bias);
    }
  }

  std::ptrdiff_t count;
  std::vector<float> query, key, value;
};

/// Every attention, chosen so that texts of 400 tokens reach all its parts.
std::vector<dca_lm::AttentionChoice> choices() {
  dca_lm::AttentionChoice choice{.chunk_size = 48, .local_window = 16, .rope_scale = 6, .window = 64, .group = 8};
  std::vector<dca_lm::AttentionChoice> choices;
  for (const dca_lm::AttentionMethod& method : dca_lm::attention_methods()) {
    choice.name = method.name;
    choices.push_back(choice);
  }
  choice.name = "dca";
  for (const char* const inter : {"recent:150", "top:130"}) {
    choice.inter = inter;
    choices.push_back(choice);
  }
  return choices;
}

/// A cache and the attention that reads it.
class Reader {
 public:
  Reader(const dca_lm::AttentionChoice& choice, const KvStorage& storage, const CacheSize& size)
      : attention_(std::make_unique<dca_lm::Attention>(choice, dca_lm::ModelRope{head_dim, 10000.0, 64, {}})),
        cache_(attention_->make_cache(storage, {kv_heads, head_dim, head_dim}, size)) {}

  LayerCache& cache() { return cache_; }

  void append(const Text& text, std::ptrdiff_t first, std::ptrdiff_t count, std::ptrdiff_t sequence = 0) {
    const std::ptrdiff_t at = first * kv_heads * head_dim;
    cache_.append(executor_, sequence, compiled::contiguous(text.key.data() + at, {count, kv_heads, head_dim}),
                  compiled::contiguous(text.value.data() + at, {count, kv_heads, head_dim}));
  }

  /// Of all the queries of a text that a sequence holds.
  std::vector<float> attended(const Text& text, std::ptrdiff_t sequence = 0) const {
    std::vector<float> out(text.query.size());
    const std::ptrdiff_t rows[] = {0, text.count}, sequences[] = {sequence};
    cache_.attend(executor_, compiled::contiguous(text.query.data(), {text.count, heads, head_dim}),
                  compiled::contiguous(out.data(), {text.count, heads, head_dim}),
                  {.cu_seqlens = rows, .sequences = sequences});
    return out;
  }

  /// The same, of a text that is read at once.
  std::vector<float> read(const Text& text, std::ptrdiff_t sequence = 0) {
    append(text, 0, text.count, sequence);
    return attended(text, sequence);
  }

 private:
  compiled::Threads threads_{2};
  dca::Executor executor_ = threads_.executor();
  std::unique_ptr<dca_lm::Attention> attention_;
  LayerCache cache_;
};

const CacheSize in_one_piece{.sequences = 2, .tokens = 1000};
const dca_lm::AttentionChoice dca_choice{.name = "dca", .chunk_size = 48, .local_window = 16};
constexpr KvStorage exact{KvType::float32}, with_offset{KvType::int8}, without{KvType::int8, KeyOffset::off};

// Long vectors are compared in parentheses of their own: what fails takes minutes to be printed.

/// Norm of the difference relative to that of what is exact.
template <class X>
double error(const std::vector<X>& found, const std::vector<X>& expected) {
  REQUIRE(found.size() == expected.size());
  double off = 0, norm = 0;
  for (std::size_t k = 0; k < found.size(); ++k) {
    off += std::pow(static_cast<double>(found[k]) - static_cast<double>(expected[k]), 2);
    norm += std::pow(static_cast<double>(expected[k]), 2);
  }
  return std::sqrt(off / norm);
}

/// A model whose keys have a bias in the same sense: token embeddings have a feature in common.
GgufContents biased_model(std::uint64_t stream) {
  Random random(stream);
  GgufContents contents = make_tiny_model(WideModel::sizes(), random);
  const std::int64_t width = WideModel::sizes().width;
  const auto replace = [&](const std::string& name, std::int64_t rows, double deviation, const auto& common) {
    std::vector<float> numbers = random.normal<float>(rows * width, deviation);
    for (std::int64_t row = 0; row < rows; ++row) numbers[static_cast<std::size_t>(row * width)] = common(row);
    std::string bytes;
    for (const float x : numbers) bytes += raw(x);
    contents.tensor(name).data = {
        f32_type, {static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(rows)}, bytes};
  };
  replace("token_embd.weight", tiny_vocabulary(), 0.5, [](std::int64_t) { return 4.0F; });
  for (const char* const layer : {"blk.0.", "blk.1."}) {
    replace(layer + std::string("attn_k.weight"), kv_heads * head_dim, 0.12,
            [](std::int64_t row) { return row % head_dim / 4 == 7 ? 20.0F : 0.0F; });
  }
  return contents;
}

}  // namespace

TEST_CASE("with a key offset narrow types keep more of keys that a bias dominates, whatever the attention") {
  const Text text(400, 100, 80);
  for (const dca_lm::AttentionChoice& choice : choices()) {
    const std::vector<float> expected = Reader(choice, exact, in_one_piece).read(text);
    for (const auto& [type, better, most] :
         {std::tuple(KvType::float16, 3.0, 3e-3), std::tuple(KvType::bfloat16, 3.0, 3e-2),
          std::tuple(KvType::int8, 3.0, 0.1), std::tuple(KvType::int4, 1.2, 0.8)}) {
      const double off = error(Reader(choice, {type, KeyOffset::off}, in_one_piece).read(text), expected);
      const double automatic = error(Reader(choice, {type}, in_one_piece).read(text), expected);
      INFO(choice.name << " " << choice.inter << ", type " << static_cast<int>(type) << ": " << automatic << ", off "
                       << off);
      CHECK(better * automatic < off);
      CHECK(automatic < most);
    }
  }
}

TEST_CASE("without a key offset, and in float, a cache gives the bits of the operator's own") {
  const Text text(200, 100, 81);
  const compiled::Threads threads(1);
  const dca::Executor executor = threads.executor();
  const compiled::Attention attend(
      {.chunks = {.chunk_size = 48, .local_window = 16}, .rope = {.rotary_dim = head_dim}});
  const dca::CacheShape shape{kv_heads, head_dim, head_dim};
  const compiled::ConstTensor query = compiled::contiguous(text.query.data(), {text.count, heads, head_dim});
  const compiled::ConstTensor key = compiled::contiguous(text.key.data(), {text.count, kv_heads, head_dim});
  const compiled::ConstTensor value = compiled::contiguous(text.value.data(), {text.count, kv_heads, head_dim});
  const auto attended = [&](auto& cache, const auto& call) {
    std::vector<float> out(text.query.size());
    cache.append(executor, 0, key, value);
    call(cache, compiled::contiguous(out.data(), {text.count, heads, head_dim}));
    return out;
  };
  const auto of_layer_cache = [&](const KvStorage& storage) {
    LayerCache cache(attend, {}, storage, shape, {.tokens = 200});
    return attended(cache,
                    [&](const LayerCache& one, const compiled::Tensor& out) { one.attend(executor, query, out, {}); });
  };
  for (const KvType type : {KvType::float32, KvType::float16, KvType::bfloat16, KvType::int8, KvType::int4}) {
    INFO("type " << static_cast<int>(type));
    compiled::KeyValueCache plain = attend.make_cache({type}, shape, 1, {.tokens = 200});
    const std::vector<float> expected = attended(
        plain,
        [&](const compiled::KeyValueCache& one, const compiled::Tensor& out) { attend(executor, query, one, out); });
    CHECK((of_layer_cache({type, KeyOffset::off}) == expected));
    CHECK((of_layer_cache({type}) == expected) == (type == KvType::float32));
  }
}

TEST_CASE("keys in which nothing stands out have no offset") {
  const Text text(200, 0, 82);
  CHECK((Reader(dca_choice, with_offset, in_one_piece).read(text) ==
         Reader(dca_choice, without, in_one_piece).read(text)));
}

TEST_CASE("fewer than 16 first tokens leave a cache without an offset for good") {
  const Text text(200, 100, 83);
  const auto read = [&](const KvStorage& storage, std::ptrdiff_t first) {
    Reader reader(dca_choice, storage, in_one_piece);
    reader.append(text, 0, 0);  // are no tokens
    reader.append(text, 0, first);
    reader.append(text, first, text.count - first);
    std::vector<float> out = reader.attended(text);
    reader.cache().truncate(0, 0);
    const std::vector<float> again = reader.read(text);
    out.insert(out.end(), again.begin(), again.end());
    return out;
  };
  for (const std::ptrdiff_t first : {1, 15}) CHECK((read(with_offset, first) == read(without, first)));
  const std::vector<float> expected = read(exact, 16);
  CHECK(3 * error(read(with_offset, 16), expected) < error(read(without, 16), expected));
}

TEST_CASE("the first 512 tokens give the offset") {
  const Text text(600, 100, 84);
  const auto read = [&](std::ptrdiff_t first) {
    Reader reader(dca_choice, with_offset, in_one_piece);
    reader.append(text, 0, first);
    reader.append(text, first, text.count - first);
    return reader.attended(text);
  };
  CHECK((read(600) == read(512)));
  CHECK((read(512) != read(511)));
}

TEST_CASE("paged caches and those in one piece have the same bits with an offset") {
  const Text text(400, 100, 85), other(150, 100, 86);
  for (const dca_lm::AttentionChoice& choice : choices()) {
    for (const KvType type : {KvType::float16, KvType::bfloat16, KvType::int8, KvType::int4}) {
      INFO(choice.name << " " << choice.inter << ", type " << static_cast<int>(type));
      Reader whole(choice, {type}, in_one_piece), off(choice, {type, KeyOffset::off}, in_one_piece);
      Reader paged(choice, {type}, {.sequences = 2, .tokens = 768, .block_size = 128});
      const std::vector<float> found = paged.read(text, 1);
      CHECK((found == whole.read(text, 1)));
      CHECK((found != off.read(text, 1)));
      CHECK((paged.read(other, 0) == whole.read(other, 0)));
    }
  }
}

TEST_CASE("a second prompt is stored with the offset of the first, however long it is") {
  const Text text(200, 100, 87);
  for (const CacheSize& size : {in_one_piece, CacheSize{.sequences = 2, .tokens = 320, .block_size = 16}}) {
    Reader used(dca_choice, with_offset, size);
    used.read(text);
    for (const std::ptrdiff_t count : {5, 150}) {
      used.cache().truncate(0, 0);
      const Text second(count, 100, 88);
      const std::vector<float> found = used.read(second);
      INFO(count << " tokens, blocks of " << size.block_size);
      CHECK(error(found, Reader(dca_choice, exact, size).read(second)) < 0.1);
      Reader fresh(dca_choice, with_offset, size), own(dca_choice, with_offset, size);
      fresh.cache().share_key_offset(used.cache());
      CHECK((fresh.read(second) == found));
      CHECK((own.read(second) != found));
    }
  }
}

TEST_CASE("a cache that shares an offset does without where the other does") {
  const Text text(200, 100, 89);
  Reader few(dca_choice, with_offset, in_one_piece), fresh(dca_choice, with_offset, in_one_piece);
  few.append(text, 0, 10);
  fresh.cache().share_key_offset(few.cache());
  CHECK((fresh.read(text) == Reader(dca_choice, without, in_one_piece).read(text)));
  Reader unread(dca_choice, with_offset, in_one_piece), like_it(dca_choice, with_offset, in_one_piece);
  like_it.cache().share_key_offset(unread.cache());
  CHECK((like_it.read(text) == Reader(dca_choice, with_offset, in_one_piece).read(text)));
}

TEST_CASE("keys that are not finite have no offset where they are, and others keep theirs") {
  Text text(100, 100, 90);
  text.key[50 * kv_heads * head_dim + 28] = std::numeric_limits<float>::quiet_NaN();
  Reader reader(dca_choice, with_offset, in_one_piece);
  reader.read(text);
  reader.cache().truncate(0, 0);
  const Text finite(100, 100, 91);
  const std::vector<float> found = reader.read(finite);
  CHECK(error(found, Reader(dca_choice, exact, in_one_piece).read(finite)) <
        error(Reader(dca_choice, without, in_one_piece).read(finite),
              Reader(dca_choice, exact, in_one_piece).read(finite)));
}

TEST_CASE("a model whose keys have a bias is better off with an offset, and side by side as one by one") {
  const TempFile file(biased_model(92).bytes());
  const OpenModel model(file.path(), 2);
  const OpenModel::Parts& parts = model.parts();
  Random random(93);
  std::vector<std::vector<Token>> prompts(4);
  for (std::size_t k = 0; k < prompts.size(); ++k) {
    prompts[k].resize(std::vector<std::size_t>{3, 90, 40, 16}[k]);
    for (Token& token : prompts[k]) token = static_cast<Token>(random.integer(0, 200));
  }
  const auto scores = [&](const char* type, const char* key_offset) {
    return model.log_probabilities(
        {.name = "dca", .chunk_size = 24, .local_window = 8, .kv_type = type, .key_offset = key_offset}, prompts[1]);
  };
  const std::vector<float> expected = scores("float", "auto");
  CHECK((scores("float", "off") == expected));
  CHECK(3 * error(scores("int8", "auto"), expected) < error(scores("int8", "off"), expected));

  // The first step reads pieces of all of them: those of the long ones say the offset.
  const dca_lm::Attention attention = parts.attention({.name = "dca", .chunk_size = 24, .local_window = 8});
  const CacheSize size{.sequences = 4, .tokens = 400, .block_size = 10};
  const dca_lm::BatchOptions options{.tokens = 10, .prefill_chunk = 20};
  const auto alone = [&](const dca_lm::Session* batched) {
    return dca_lm::run_one_by_one(parts.model, attention, parts.executor, with_offset, prompts, options, nullptr,
                                  batched);
  };
  dca_lm::Session session(parts.model, attention, parts.executor, size, with_offset);
  const dca_lm::BatchRun batched = dca_lm::run_batch(session, size, prompts, options, nullptr);
  const dca_lm::BatchRun sharing = alone(&session), others = alone(nullptr);
  for (std::size_t k = 0; k < prompts.size(); ++k) {
    INFO("prompt " << k);
    CHECK(batched.continuations[k].tokens == sharing.continuations[k].tokens);
    CHECK(error(batched.continuations[k].gaps, sharing.continuations[k].gaps) < 1e-3);
  }
  CHECK(others.continuations[0].gaps != sharing.continuations[0].gaps);
}

TEST_CASE("the option of key offsets goes into every command's caches and results") {
  Files files;
  const std::string contents = biased_model(94).bytes();
  files.model.cut(0);
  files.model.write(contents);
  const std::string attention = " --attention dca --kv-type int8 --json " + files.results.path();
  const auto written = [&](const std::string& arguments) {
    const Outcome outcome = run(arguments);
    INFO(outcome.output);
    REQUIRE(outcome.exit_code == 0);
    return json::parse(files.results.read());
  };
  const OpenModel model(files.model.path());
  std::vector<Token> tokens = model.tokenizer().encode(files.sentences);
  tokens.resize(150 + 1);
  std::vector<double> perplexities;
  for (const std::string option : {"", "auto", "off"}) {
    const std::string options = attention + (option.empty() ? "" : " --key-offset " + option);
    const json ppl = written(files.ppl("--tokens 150 --nll" + options));
    CHECK(ppl.at("key_offset").get<std::string>() == (option.empty() ? "auto" : option));
    const Choice choice{.name = "dca",
                        .chunk_size = 48,
                        .local_window = 8,
                        .kv_type = "int8",
                        .key_offset = option == "off" ? "off" : "auto"};
    CHECK(error(ppl.at("nll").get<std::vector<double>>(), model.negative_log_likelihoods(choice, tokens)) < 1e-6);
    perplexities.push_back(ppl.at("perplexity").get<double>());
  }
  CHECK(perplexities[0] == perplexities[1]);
  CHECK(perplexities[0] != perplexities[2]);

  const std::string off = attention + " --key-offset off", text = " --text " + files.text.path();
  const std::string tune = "tune --model " + files.model.path() + text + " --tokens 100 --budget-minutes 0 --json " +
                           files.results.path() + " --kv-type int8";
  const std::string batch = "batch --check --tokens 3 --model " + files.model.path() + " --prompt-file " +
                            files.text.path() + " --prompt-file " + files.text.path();
  for (const std::string& command :
       {files.generate("--tokens 3" + off), batch + off, files.passkey("--tokens 600 --trials 1" + off),
        files.needle("--tokens 160 --trials 1" + off), tune + " --key-offset off"}) {
    INFO(command);
    CHECK(written(command).at("key_offset").get<std::string>() == "off");
  }
  CHECK(written(batch + attention).at("mismatches").get<int>() == 0);
  const auto first_trial = [&](const std::string& option) {
    return written(tune + option).at("tried").at(0).at("perplexity").get<double>();
  };
  CHECK(first_trial("") != first_trial(" --key-offset off"));
  const auto probability = [&](const std::string& option) {
    return written(files.needle("--tokens 160 --trials 1" + attention + option)).at("trials").at(0).at("probability");
  };
  CHECK(probability("") != probability(" --key-offset off"));
  check_refused(files.ppl("--tokens 10 --attention dca --key-offset x"), "--key-offset: x");
}
