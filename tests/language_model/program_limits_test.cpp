// What dca_lm does with options and files that ask for what cannot be.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <regex>

#include "program.hpp"
#include "support/sanitized.hpp"
#include "support/skip.hpp"

using namespace dca_lm_test;
using dca_test::contains;
using nlohmann::json;

namespace {

/// Runs dca_lm for ten seconds at most, which is long beside what it takes.
Outcome run_shortly(const std::string& arguments, const std::string& before = "") {
  return run_command(before + "timeout 10 '" DCA_LM_PROGRAM "' " + arguments);
}

const char* const sanitized = "a sanitizer needs the addresses that are taken away here";

/// A pipe that nobody writes to, beside a file.
struct Pipe {
  explicit Pipe(const TempFile& file) : path(file.path() + ".pipe") { REQUIRE(::mkfifo(path.c_str(), 0600) == 0); }
  ~Pipe() { ::unlink(path.c_str()); }
  std::string path;
};

}  // namespace

TEST_CASE("no option with a fraction takes what is no number, or endless") {
  const Files files;
  int options = 0;
  for (const char* command : {"ppl", "passkey", "needle", "tune", "generate", "batch"}) {
    const std::string help = run(std::string(command) + " --help").output;
    const std::regex fractions("(--[a-z-]+) FLOAT");
    for (auto at = std::sregex_iterator(help.begin(), help.end(), fractions); at != std::sregex_iterator(); ++at) {
      ++options;
      for (const char* value : {"nan", "-nan", "inf", "-inf", "1e999", "'NAN(1)'", "''", "0.5x"}) {
        const std::string option = (*at)[1].str();
        INFO(command << " " << option << " " << value);
        const Outcome outcome = run(std::string(command) + " " + option + " " + value);
        CHECK(outcome.exit_code > 0);
        CHECK(outcome.exit_code < 126);
        CHECK_THAT(outcome.output, contains(option) && !contains("is required"));
      }
    }
  }
  CHECK(options == 10);  // --rope-scale of five, --depths of two, --budget-minutes, --temperature, --top-p
  check_refused(files.passkey("--tokens 600 --attention rope --depths 0.5,nan"), "--depths");
  check_refused("tune --model " + files.model.path() + " --text " + files.text.path() + " --budget-minutes nan",
                "--budget-minutes");
}

TEST_CASE("a chunk_size that is given alone has a local_window to match") {
  const Files files;  // its trained window is 64
  const auto local_window = [&](const std::string& options) {
    const Outcome outcome = run(files.ppl("--tokens 60 --json " + files.results.path() + " --attention " + options));
    INFO(outcome.output);
    REQUIRE(outcome.exit_code == 0);
    return json::parse(files.results.read()).at("local_window").get<int>();
  };
  CHECK(local_window("dca") == 8);
  CHECK(local_window("dca --chunk-size 9") == 1);  // not 8, chunks of one token
  CHECK(local_window("dca --chunk-size 12") == 2);
  CHECK(local_window("dca --chunk-size 48") == 8);
  CHECK(local_window("dca --chunk-size 1") == 0);
  CHECK(local_window("dca --chunk-size 600") == 8);
  CHECK(local_window("intra --chunk-size 16") == 2);
  CHECK(local_window("dca --chunk-size 16 --local-window 15") == 15);
}

TEST_CASE("pipes that nobody writes to are refused by name instead of waited for") {
  const Files files;
  const Pipe pipe(files.text);
  const std::string model = " --model " + files.model.path(), from_pipe = " " + pipe.path;
  for (const std::string& arguments :
       {"ppl --tokens 9 --attention rope --model" + from_pipe + " --text " + files.text.path(),
        "ppl --tokens 9 --attention rope --text" + from_pipe + model,
        "needle --tokens 160 --attention rope --text" + from_pipe + model, "tune --text" + from_pipe + model,
        "generate --tokens 9 --attention rope --prompt-file" + from_pipe + model,
        "batch --tokens 9 --attention rope --prompt-file" + from_pipe + model,
        "passkey --tokens 600 --attention rope --model" + from_pipe}) {
    INFO(arguments);
    const Outcome outcome = run_shortly(arguments);
    CHECK(outcome.exit_code > 0);
    CHECK(outcome.exit_code < 124);  // which says that the time is over
    CHECK_THAT(outcome.output, contains("ot a regular file: " + pipe.path));
  }
  CHECK_THAT(run_shortly(files.ppl("--tokens 9 --attention rope --json " + pipe.path)).output,
             contains("--json " + pipe.path + ": cannot be written"));
}

TEST_CASE("threads beyond those of any machine are refused by their number") {
  check_refused(Files().ppl("--tokens 9 --attention rope --threads 1025"), "--threads");
}

TEST_CASE("threads beyond what the system allows are refused by their number") {
  if (dca_test::is_sanitized) return dca_test::skip(sanitized);
  const Files files;
  const Outcome outcome = run_shortly(files.ppl("--tokens 9 --attention rope --threads 1000"), "ulimit -v 2000000; ");
  INFO(outcome.output);
  CHECK(outcome.exit_code == 1);
  CHECK_THAT(outcome.output, contains("dca_lm: --threads 1000; the system allows only"));
}

TEST_CASE("memory that runs out is an error on any number of threads") {
  if (dca_test::is_sanitized) return dca_test::skip(sanitized);
  // The widest layer is in what the blocks of a prompt's rows compute, each on its own thread.
  Random random(31);
  TinySizes sizes;
  sizes.hidden = 1 << 14;
  const Files files;
  const TempFile model(make_tiny_model(sizes, random).bytes());
  const std::string arguments =
      "ppl --model " + model.path() + " --text " + files.text.path() + " --tokens 150 --attention rope --threads 2";
  int failed = 0, worked = 0;
  for (int mebibytes = 20; mebibytes < 1000 && worked < 3; mebibytes += 4) {
    const std::string limit = "ulimit -s 256; ulimit -v " + std::to_string(mebibytes * 1024) + "; ";
    if (run_shortly("--help", limit).exit_code != 0) continue;  // too little to start at all
    const Outcome outcome = run_shortly(arguments, limit);
    INFO(mebibytes << " MiB of addresses: " << outcome.output);
    if (outcome.exit_code == 0) {
      ++worked;
      continue;
    }
    ++failed;
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.output, contains("not enough memory") || contains("Cannot allocate memory") ||
                                   contains("the system allows only"));
  }
  CHECK(failed > 2);
  CHECK(worked == 3);
}

TEST_CASE("errors name the file, and show of its strings what is fit to be seen") {
  const Files files;
  const auto error_of_file = [&](const std::string& key, const std::string& text) {
    Random random(32);
    GgufContents contents = make_tiny_model({}, random);
    contents.set(key, value(text));
    const TempFile model(contents.bytes());
    const Outcome outcome =
        run("ppl --model " + model.path() + " --text " + files.text.path() + " --tokens 9 --attention rope");
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.output, contains("dca_lm: " + model.path() + ": "));
    CHECK(std::count(outcome.output.begin(), outcome.output.end(), '\n') == 1);
    return outcome.output;
  };
  const std::string steering = "\x1b]0;title\a\x1b[2J\r\xff";
  for (const char* key : {"general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre"}) {
    INFO(key);
    CHECK_THAT(error_of_file(key, steering), contains("\\x1b]0;title\\x07\\x1b[2J\\x0d\\xff"));
    const std::string longer = error_of_file(key, std::string(5'000'000, 'a'));
    CHECK(longer.size() < 1000);
    CHECK_THAT(longer, contains("(5000000 bytes)"));
  }
  const TempFile no_model("no model"), no_text("\xff\xff");
  check_refused("passkey --tokens 600 --attention rope --model " + no_model.path(),
                "dca_lm: " + no_model.path() + ": not a GGUF file");
  check_refused("ppl --tokens 9 --attention rope --model " + files.model.path() + " --text " + no_text.path(),
                "dca_lm: " + no_text.path() + ": text: not UTF-8 at byte 0");
  const Outcome argument = run("ppl --attention '\x1b[31mred'");
  CHECK(argument.exit_code > 0);
  CHECK_THAT(argument.output, contains("\\x1b[31mred") && !contains("\x1b"));
}

TEST_CASE("what a model says is whole in the results, and steers no terminal") {
  // All logits are alike: it says its first token again and again.
  Random random(33);
  TinySizes sizes;
  sizes.own_head = true;
  GgufContents contents = make_tiny_model(sizes, random);
  const std::string token = "\x1b[2J\xc2\x9b" + std::string(50, 'x');
  std::vector<std::string> tokens = printable_bytes();
  tokens.insert(tokens.begin(), token);
  const auto size = static_cast<std::size_t>(tiny_vocabulary());
  while (tokens.size() < size) tokens.push_back(std::to_string(tokens.size()));
  set_tokenizer(contents, tokens, {});
  contents.tensor("output.weight").data = {f32_type, {32, size}, std::string(32 * size * sizeof(float), '\0')};
  const TempFile model(contents.bytes());
  const Files files;

  const Outcome listed = run("passkey --model " + model.path() + " --tokens 1200 --trials 1 --attention rope --json " +
                             files.results.path());
  INFO(listed.output);
  REQUIRE(listed.exit_code == 0);
  CHECK_THAT(listed.output, contains("\"\\x1b[2J\\u{9b}xxx") && contains("... (") && !contains("\x1b"));
  const json trial = json::parse(files.results.read()).at("trials").at(0);
  CHECK_THAT(trial.at("answer").get<std::string>(), contains(token + token));

  const std::string generate =
      "generate --model " + model.path() + " --prompt-file " + files.text.path() + " --tokens 3 --attention rope";
  CHECK_THAT(run(generate).output, contains(token + token + token));  // into a pipe, as it is
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || ::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0) return dca_test::skip("no terminal");
  const std::string name = ::ptsname(terminal);
  const int other_end = ::open(name.c_str(), O_RDWR | O_NOCTTY);  // or what was written may be gone
  REQUIRE(run_command("{ '" DCA_LM_PROGRAM "' " + generate + " >" + name + "; }").exit_code == 0);
  std::array<char, 4096> shown{};
  const auto count = ::read(terminal, shown.data(), shown.size());
  ::close(other_end);
  ::close(terminal);
  REQUIRE(count > 0);
  CHECK_THAT(std::string(shown.data(), static_cast<std::size_t>(count)),
             contains("\\x1b[2J\\u{9b}xxx") && !contains("\x1b"));
}
