// dca_lm as its users meet it: options, output, exit codes.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "open_model.hpp"
#include "program.hpp"

using namespace dca_lm_test;
using dca_test::contains;
using nlohmann::json;

namespace {

double perplexity(const std::vector<double>& nll, std::ptrdiff_t from, std::ptrdiff_t to) {
  return std::exp(std::accumulate(nll.begin() + from, nll.begin() + to, 0.0) / static_cast<double>(to - from));
}

}  // namespace

TEST_CASE("ppl writes the perplexity of the text, whole and by bucket, as JSON") {
  const Files files;
  const OpenModel model(files.model.path());
  std::vector<Token> tokens = model.tokenizer().encode(files.sentences);
  REQUIRE(tokens.size() > 150);
  tokens.resize(150 + 1);
  for (const Choice& choice : {Choice{.name = "dca", .chunk_size = 48, .local_window = 8}, Choice{.name = "rope"},
                               Choice{.name = "yarn", .rope_scale = 150.0 / 64}}) {
    const std::string window = choice.name == "dca" ? " --chunk-size 48 --local-window 8" : "";
    const Outcome outcome = run(files.ppl("--tokens 150 --bucket 64 --threads 2 --nll --attention " + choice.name +
                                          window + " --json " + files.results.path()));
    INFO(outcome.output);
    REQUIRE(outcome.exit_code == 0);
    const json written = json::parse(files.results.read());
    const std::vector<double> nll = model.negative_log_likelihoods(choice, tokens);
    CHECK(written.at("attention").get<std::string>() == choice.name);
    CHECK(written.at("tokens").get<int>() == 150);
    CHECK(written.at("text_tokens").get<std::size_t>() == model.tokenizer().encode(files.sentences).size());
    CHECK(written.at("seconds").get<double>() >= 0);
    CHECK(written.at("perplexity").get<double>() == dca_test::Approx(perplexity(nll, 0, 150)).epsilon(1e-9));
    CHECK(written.at("nll").get<std::vector<double>>().size() == 150);
    REQUIRE(written.at("buckets").size() == 3);
    for (std::ptrdiff_t k = 0; k < 3; ++k) {
      const json& bucket = written.at("buckets").at(static_cast<std::size_t>(k));
      const std::ptrdiff_t from = 64 * k, to = std::min<std::ptrdiff_t>(from + 64, 150);
      CHECK(bucket.at("from").get<std::ptrdiff_t>() == from);
      CHECK(bucket.at("to").get<std::ptrdiff_t>() == to);
      CHECK(bucket.at("perplexity").get<double>() == dca_test::Approx(perplexity(nll, from, to)).epsilon(1e-9));
    }
  }
}

TEST_CASE("what is not said about the attention follows from the trained window") {
  const Files files;
  const auto written = [&](const std::string& options) {
    const Outcome outcome = run(files.ppl("--tokens 128 --json " + files.results.path() + " --attention " + options));
    INFO(outcome.output);
    REQUIRE(outcome.exit_code == 0);
    return json::parse(files.results.read());
  };
  const json dca = written("dca"), small_chunk = written("dca --chunk-size 4"), ntk = written("ntk");
  CHECK(dca.at("trained_window").get<int>() == 64);
  CHECK(dca.at("chunk_size").get<int>() == 48);
  CHECK(dca.at("local_window").get<int>() == 8);
  CHECK(small_chunk.at("chunk_size").get<int>() == 4);
  CHECK(small_chunk.at("local_window").get<int>() == 0);
  CHECK(ntk.at("rope_scale").get<double>() == 2.0);
  CHECK(written("dca --local-window 0").at("local_window").get<int>() == 0);
  CHECK(written("linear --rope-scale 4").at("rope_scale").get<double>() == 4.0);
}

TEST_CASE("ppl and passkey say what the cache is made of and how large it is") {
  const Files files;
  const OpenModel model(files.model.path());
  std::vector<Token> tokens = model.tokenizer().encode(files.sentences);
  tokens.resize(100 + 1);
  // Two layers, 2 kv heads of 8; int8 has a scale of 4 bytes a row.
  for (const auto& [type, row_bytes] : {std::pair("float", 32), std::pair("bfloat16", 16), std::pair("int8", 12)}) {
    const std::string options = std::string(" --attention rope --kv-type ") + type + " --json " + files.results.path();
    const Outcome ppl = run(files.ppl("--tokens 100" + options));
    INFO(ppl.output);
    REQUIRE(ppl.exit_code == 0);
    json written = json::parse(files.results.read());
    CHECK(written.at("kv_type").get<std::string>() == type);
    CHECK(written.at("cache_bytes").get<int>() == 2 * 2 * 100 * 2 * row_bytes);
    const std::vector<double> nll = model.negative_log_likelihoods({.name = "rope", .kv_type = type}, tokens);
    CHECK(written.at("perplexity").get<double>() == dca_test::Approx(perplexity(nll, 0, 100)).epsilon(1e-9));
    CHECK_THAT(ppl.output, contains(std::string(type) + " cache of 0.0 MiB"));

    files.results.cut(0);
    REQUIRE(run(files.passkey("--tokens 600 --trials 1" + options)).exit_code == 0);
    written = json::parse(files.results.read());
    CHECK(written.at("kv_type").get<std::string>() == type);
    CHECK(written.at("cache_bytes").get<int>() == 2 * 2 * 608 * 2 * row_bytes);
  }
  check_refused(files.ppl("--tokens 10 --attention dca --kv-type int2"), "--kv-type: int2");
  check_refused(files.ppl("--tokens 10 --attention dca --kv-type int4"), "a multiple of 32, the model's is 8");
}

TEST_CASE("generate prints the text and writes its tokens") {
  const Files files;
  const OpenModel model(files.model.path());
  const std::vector<Token> prompt = model.tokenizer().encode(files.sentences);
  std::vector<Token> first;
  for (const std::string& options : {std::string(), std::string(" --prefill-chunk 50"), std::string(" --threads 2"),
                                     std::string(" --temperature 1 --top-k 1"), std::string(" --kv-type float")}) {
    const Outcome outcome =
        run(files.generate("--tokens 12 --attention dca" + options + " --json " + files.results.path()));
    INFO(outcome.output);
    REQUIRE(outcome.exit_code == 0);
    const json written = json::parse(files.results.read());
    const auto tokens = written.at("generated").get<std::vector<Token>>();
    CHECK(tokens.size() == 12);
    CHECK(written.at("prompt_tokens").get<std::size_t>() == prompt.size());
    CHECK(written.at("cache_bytes").get<std::size_t>() == 2 * 2 * (prompt.size() + 12) * 2 * 8 * 4);
    CHECK(written.at("decode_tokens_per_second").get<double>() > 0);
    CHECK_THAT(outcome.output, contains(written.at("text").get<std::string>()));
    CHECK_THAT(outcome.output, contains("12 generated at"));
    if (first.empty()) first = tokens;
    CHECK(tokens == first);
  }
  // So hot that no token has a chance worth naming of being drawn twelve times as the greedy ones.
  const Outcome drawn = run(files.generate(
      "--tokens 12 --attention dca --temperature 100 --top-p 0.99 --seed 5 --json " + files.results.path()));
  REQUIRE(drawn.exit_code == 0);
  CHECK(json::parse(files.results.read()).at("generated").get<std::vector<Token>>() != first);
}

TEST_CASE("batch continues several prompts and finds them the same one by one") {
  const Files files;
  const TempFile shorter("The whale"), longer(files.sentences + files.sentences);
  const std::string prompts = " --prompt-file " + shorter.path() + " --prompt-file " + longer.path();
  for (const std::string& options : {std::string(" --block-size 16 --prefill-chunk 30 --check"),
                                     std::string(" --blocks 10 --check --kv-type int8"), std::string()}) {
    const bool checked = options.find("--check") != std::string::npos;
    const Outcome outcome = run("batch --model " + files.model.path() + " --prompt-file " + files.text.path() +
                                prompts + " --tokens 9 --attention dca" + options + " --json " + files.results.path());
    INFO(outcome.output);
    REQUIRE(outcome.exit_code == 0);
    const json written = json::parse(files.results.read());
    REQUIRE(written.at("prompts").size() == 3);
    CHECK(written.contains("one_by_one") == checked);
    CHECK(written.at("batch").at("mixed_steps").get<int>() > 0);
    for (const json& prompt : written.at("prompts")) {
      CHECK(prompt.at("generated").size() == 9);
      CHECK(prompt.contains("same") == checked);
      if (checked && !prompt.at("same").get<bool>()) CHECK_FALSE(prompt.at("mismatch").get<bool>());
    }
    if (checked) CHECK(written.at("mismatches").get<int>() == 0);
  }
}

TEST_CASE("wrong options of generate and batch are refused by name") {
  const Files files;
  const std::string batch = "batch --model " + files.model.path() + " --attention dca ";
  const TempFile empty("");
  check_refused(files.generate("--tokens 0 --attention dca"), "--tokens");
  check_refused(files.generate("--tokens 5 --attention dca --prefill-chunk 0"), "--prefill-chunk");
  check_refused(files.generate("--tokens 5 --attention dca --temperature -1"), "--temperature");
  check_refused(files.generate("--tokens 5 --attention dca --top-k -1"), "--top-k");
  check_refused(files.generate("--tokens 5 --attention dca --top-p 0"), "--top-p");
  check_refused(files.generate("--tokens 5 --attention dca --kv-type int3"), "--kv-type: int3");
  check_refused(files.generate("--tokens 5 --attention dca --chat"), "--chat: the file has no tokenizer.chat_template");
  check_refused("generate --model " + files.model.path() + " --tokens 5 --attention dca --prompt-file " + empty.path(),
                "the file is empty");
  check_refused(batch + "--tokens 5", "--prompt-file");
  check_refused(batch + "--tokens 5 --prompt-file /no/such.txt", "--prompt-file");
  check_refused(batch + "--tokens 5 --prompt-file " + empty.path(), "the file is empty");
  check_refused(batch + "--tokens 5 --block-size 0 --prompt-file " + files.text.path(), "--block-size");
  const TempFile shorter("The whale");
  check_refused(batch + "--tokens 5 --blocks 1 --prompt-file " + shorter.path() + " --prompt-file " + files.text.path(),
                "prompt 2 (" + files.text.path() + ") needs");
  check_refused(batch + "--tokens 0 --prompt-file " + files.text.path(), "--tokens");
}

TEST_CASE("help names the subcommands") {
  const Outcome outcome = run("--help");
  CHECK(outcome.exit_code == 0);
  CHECK_THAT(outcome.output, contains("ppl"));
  CHECK_THAT(outcome.output, contains("passkey"));
  CHECK_THAT(outcome.output, contains("needle"));
  CHECK_THAT(outcome.output, contains("tune"));
  CHECK_THAT(outcome.output, contains("generate"));
  CHECK_THAT(outcome.output, contains("batch"));
}

TEST_CASE("wrong options are refused by name") {
  const Files files;
  check_refused("", "subcommand");
  check_refused("perplexity", "subcommand");
  check_refused(files.ppl("--tokens 10"), "--attention");
  check_refused(files.ppl("--attention dca"), "--tokens");
  check_refused(files.ppl("--tokens 10 --attention sparse"), "--attention: sparse");
  check_refused(files.ppl("--tokens 0 --attention dca"), "--tokens");
  check_refused(files.ppl("--tokens ten --attention dca"), "--tokens");
  check_refused(files.ppl("--tokens 10 --attention dca --chunk-size 0"), "--chunk-size");
  check_refused(files.ppl("--tokens 10 --attention dca --local-window -1"), "--local-window");
  check_refused(files.ppl("--tokens 10 --attention dca --chunk-size 8 --local-window 8"), "local_window: 8");
  check_refused(files.ppl("--tokens 10 --attention ntk --rope-scale 0.5"), "--rope-scale");
  check_refused(files.ppl("--tokens 10 --attention dca --threads 0"), "--threads");
  check_refused(files.ppl("--tokens 10 --attention dca --bucket 0"), "--bucket");
  check_refused(files.ppl("--tokens 10 --attention dca --colour"), "--colour");
  check_refused(files.passkey("--tokens 600 --attention dca --trials 0"), "--trials");
  check_refused(files.passkey("--tokens 100 --attention dca"), "--tokens 100; the prompt alone takes");
}

TEST_CASE("files that are missing or of another kind are refused by name") {
  const Files files;
  check_refused("ppl --model /no/such.gguf --text " + files.text.path() + " --tokens 9 --attention dca", "--model");
  check_refused("ppl --model " + files.model.path() + " --text /no/such.txt --tokens 9 --attention dca", "--text");
  check_refused("ppl --model " + files.text.path() + " --text " + files.text.path() + " --tokens 9 --attention dca",
                "not a GGUF file");
  check_refused("ppl --model " + files.model.path() + " --text " + files.model.path() + " --tokens 9 --attention dca",
                "not UTF-8 at byte");
  check_refused("ppl --model " + files.model.path() + " --text " + files.results.path() + " --tokens 9 --attention dca",
                "the file is empty");
  check_refused(files.ppl("--tokens 9 --attention dca --json /no/such/folder/results.json"), "--json /no/such/folder");
}

TEST_CASE("a text with too few tokens is refused with their number") {
  const Files files;
  const OpenModel model(files.model.path());
  const std::size_t count = model.tokenizer().encode(files.sentences).size();
  check_refused(files.ppl("--attention dca --tokens " + std::to_string(count)),
                "--tokens " + std::to_string(count) + "; " + files.text.path() + " has " + std::to_string(count));
  CHECK(run(files.ppl("--attention dca --tokens " + std::to_string(count - 1))).exit_code == 0);
}
