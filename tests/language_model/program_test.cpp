// dca_lm as its users meet it: options, output, exit codes.
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>

#include "open_model.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;
using dca_test::contains;
using nlohmann::json;

namespace {

struct Outcome {
  int exit_code;
  std::string output;  // both streams
};

/// Runs dca_lm with arguments that need no quoting but a path's.
Outcome run(const std::string& arguments) {
  const std::string command = "'" DCA_LM_PROGRAM "' " + arguments + " 2>&1 </dev/null";
  FILE* const stream = ::popen(command.c_str(), "r");
  if (stream == nullptr) throw std::runtime_error("popen failed");
  std::string output;
  std::array<char, 4096> buffer;
  for (std::size_t count; (count = std::fread(buffer.data(), 1, buffer.size(), stream)) > 0;) {
    output.append(buffer.data(), count);
  }
  const int status = ::pclose(stream);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

/// A tiny model, a text of about 190 tokens, and a place for results.
struct Files {
  Random random{30};
  TempFile model{make_tiny_model({}, random).bytes()};
  std::string sentences =
      "The whale is a mammal, and in 1812 there was another one; \xe2\x80\x9cthe sea\xe2\x80\x9d, they said.\n"
      "Then the rain came over the hills in the north, and the other 12 went home without a word.\n"
      "There are no more of them in the harbour.\n";
  TempFile text{sentences};
  TempFile results{""};

  std::string ppl(const std::string& options) const {
    return "ppl --model " + model.path() + " --text " + text.path() + " " + options;
  }
  std::string generate(const std::string& options) const {
    return "generate --model " + model.path() + " --prompt-file " + text.path() + " " + options;
  }
  std::string needle(const std::string& options) const {
    return "needle --model " + model.path() + " --text " + text.path() + " " + options;
  }
  std::string passkey(const std::string& options) const { return "passkey --model " + model.path() + " " + options; }
};

double perplexity(const std::vector<double>& nll, std::ptrdiff_t from, std::ptrdiff_t to) {
  return std::exp(std::accumulate(nll.begin() + from, nll.begin() + to, 0.0) / static_cast<double>(to - from));
}

/// The program fails, neither with a signal nor with a sanitizer's report, and says why.
void check_refused(const std::string& arguments, const std::string& message) {
  const Outcome outcome = run(arguments);
  INFO(arguments);
  CHECK(outcome.exit_code > 0);
  CHECK(outcome.exit_code < 126);
  CHECK_THAT(outcome.output, contains(message));
  CHECK(outcome.output.find("Sanitizer") == std::string::npos);
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
  CHECK(small_chunk.at("local_window").get<int>() == 3);
  CHECK(ntk.at("rope_scale").get<double>() == 2.0);
  CHECK(written("dca --local-window 0").at("local_window").get<int>() == 0);
  CHECK(written("linear --rope-scale 4").at("rope_scale").get<double>() == 4.0);
}

TEST_CASE("ppl writes the numbers of the attention that has them, and no others") {
  const Files files;
  const auto keys = [&](const std::string& options) {
    const Outcome outcome = run(files.ppl("--tokens 128 --json " + files.results.path() + " --attention " + options));
    INFO(outcome.output);
    REQUIRE(outcome.exit_code == 0);
    std::string found;
    const json written = json::parse(files.results.read());
    for (const auto& item : written.items()) {
      for (const char* key :
           {"chunk_size", "local_window", "rope_scale", "sinks", "window", "group", "context", "step"}) {
        if (item.key() == key) found += item.key() + "=" + item.value().dump() + " ";
      }
    }
    return found;
  };
  CHECK(keys("rope") == "");
  CHECK(keys("rope --context 64") == "context=64 step=32 ");
  CHECK(keys("rope --context 64 --step 16") == "context=64 step=16 ");
  CHECK(keys("dca+ntk") == "chunk_size=48 local_window=8 rope_scale=2.0 ");
  CHECK(keys("dca+yarn --rope-scale 3") == "chunk_size=48 local_window=8 rope_scale=3.0 ");
  CHECK(keys("streaming") == "sinks=4 window=60 ");
  CHECK(keys("streaming --sinks 2 --window 9") == "sinks=2 window=9 ");
  CHECK(keys("self-extend") == "group=3 window=16 ");
  CHECK(keys("self-extend --window 9 --group 5") == "group=5 window=9 ");
  CHECK(keys("intra --chunk-size 16") == "chunk_size=16 local_window=8 ");
  CHECK(keys("intra+inter") == "chunk_size=48 local_window=8 ");
  check_refused(files.ppl("--tokens 100 --attention dca --context 64"), "--context 64; is for --attention rope");
  check_refused(files.ppl("--tokens 100 --attention rope --context 64 --step 65"), "a step of 65; must be from 1");
  check_refused(files.ppl("--tokens 100 --attention rope --step 65"), "--step; is of --context");
  check_refused(files.ppl("--tokens 100 --attention streaming --kv-type half"), "--kv-type: this attention keeps");
}

TEST_CASE("passkey prints a score and writes every trial") {
  const Files files;
  const Outcome outcome =
      run(files.passkey("--tokens 600 --trials 2 --seed 7 --attention dca --json " + files.results.path()));
  INFO(outcome.output);
  REQUIRE(outcome.exit_code == 0);
  CHECK_THAT(outcome.output, contains(" of 2, in "));
  const json written = json::parse(files.results.read());
  CHECK(written.at("seed").get<int>() == 7);
  REQUIRE(written.at("trials").size() == 2);
  int correct = 0;
  for (const json& trial : written.at("trials")) {
    CHECK(trial.at("expected").get<std::string>().size() == 5);
    CHECK(trial.at("answer").is_string());
    correct += trial.at("correct").get<bool>() ? 1 : 0;
  }
  CHECK(written.at("correct").get<int>() == correct);
  CHECK_THAT(outcome.output, contains(std::to_string(correct) + " of 2, in "));
}

TEST_CASE("passkey and needle go over lengths and depths and draw a map of what was found") {
  const Files files;
  const std::string json_option = " --json " + files.results.path();
  for (const std::string& command :
       {files.passkey("--tokens 600,700 --depths 0,0.5,1 --trials 2 --attention ntk" + json_option),
        files.needle("--tokens 160,200 --depths 0,0.5,1 --trials 2 --attention ntk" + json_option)}) {
    const Outcome outcome = run(command);
    INFO(command << "\n" << outcome.output);
    REQUIRE(outcome.exit_code == 0);
    CHECK_THAT(outcome.output, contains("  tokens     0%    50%   100%\n"));
    const json written = json::parse(files.results.read());
    REQUIRE(written.at("lengths").size() == 2);
    REQUIRE(written.at("trials").size() == 12);
    int correct = 0;
    for (std::size_t k = 0; k < 12; ++k) {
      const json &trial = written.at("trials").at(k), &length = written.at("lengths").at(k / 6);
      CHECK(trial.at("tokens") == length.at("tokens"));
      CHECK(length.at("rope_scale").get<double>() ==
            dca_test::Approx(length.at("tokens").get<double>() / written.at("trained_window").get<double>()));
      CHECK(trial.at("depth").get<double>() == 0.5 * static_cast<double>(k % 6 / 2));
      CHECK(trial.contains("probability") == (command.starts_with("needle")));
      correct += trial.at("correct").get<bool>() ? 1 : 0;
    }
    CHECK(written.at("correct").get<int>() == correct);
    CHECK_FALSE(written.contains("rope_scale"));
  }
  const Outcome single = run(files.needle("--tokens 160 --attention dca" + json_option));
  REQUIRE(single.exit_code == 0);
  const json written = json::parse(files.results.read());
  CHECK(written.at("tokens").get<int>() == 160);
  CHECK(written.at("chunk_size").get<int>() == 48);
  CHECK(written.at("trials").size() == 3);
  check_refused(files.needle("--tokens 160 --attention dca --depths 0.5,1.5"), "--depths");
  check_refused(files.needle("--tokens 5000 --attention dca"), "--tokens 5000; the text has");
  check_refused("needle --model " + files.model.path() + " --tokens 160 --attention dca", "--text");
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
  const Outcome drawn = run(files.generate("--tokens 12 --attention dca --temperature 3 --top-p 0.99 --seed 5 --json " +
                                           files.results.path()));
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
  check_refused(files.generate("--tokens 5 --attention dca --top-p 0"), "--top-p 0");
  check_refused(files.generate("--tokens 5 --attention dca --kv-type int3"), "--kv-type: int3");
  check_refused(files.generate("--tokens 5 --attention dca --chat"), "--chat: the file has no tokenizer.chat_template");
  check_refused("generate --model " + files.model.path() + " --tokens 5 --attention dca --prompt-file " + empty.path(),
                "the file is empty");
  check_refused(batch + "--tokens 5", "--prompt-file");
  check_refused(batch + "--tokens 5 --prompt-file /no/such.txt", "--prompt-file");
  check_refused(batch + "--tokens 5 --prompt-file " + empty.path(), "the file is empty");
  check_refused(batch + "--tokens 5 --block-size 0 --prompt-file " + files.text.path(), "--block-size");
  check_refused(batch + "--tokens 5 --blocks 1 --prompt-file " + files.text.path(), "prompt 1 needs");
  check_refused(batch + "--tokens 0 --prompt-file " + files.text.path(), "--tokens");
}

TEST_CASE("help names the subcommands") {
  const Outcome outcome = run("--help");
  CHECK(outcome.exit_code == 0);
  CHECK_THAT(outcome.output, contains("ppl"));
  CHECK_THAT(outcome.output, contains("passkey"));
  CHECK_THAT(outcome.output, contains("needle"));
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
