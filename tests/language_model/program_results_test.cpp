// What dca_lm and dca_position_map write: refused before the work where it cannot be written, and never lost in
// silence.
#include <sys/stat.h>

#include "program.hpp"
#include "support/skip.hpp"

using namespace dca_lm_test;
using dca_test::contains;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// A call of each command that ends in a moment.
std::vector<std::string> all_commands(const Files& files) {
  return {
      files.ppl("--tokens 40 --attention rope"),
      files.passkey("--tokens 600 --trials 1 --attention rope"),
      files.needle("--tokens 160 --trials 1 --attention rope"),
      files.generate("--tokens 2 --attention rope"),
      "tune --model " + files.model.path() + " --text " + files.text.path() + " --budget-minutes 0",
      "batch --model " + files.model.path() + " --prompt-file " + files.text.path() + " --tokens 2 --attention rope"};
}

/// Runs a shell's command line in which PROGRAM stands for dca_lm; its standard error is seen wherever the output goes.
Outcome shell(std::string line, const std::string& program = DCA_LM_PROGRAM) {
  line.replace(line.find("PROGRAM"), 7, "'" + program + "'");
  return run_command("{ " + line + "; }");
}

}  // namespace

TEST_CASE("a place where no results can be is refused before the model is read") {
  const Files files;
  const TempFile no_model("this is no model");
  for (std::string command : all_commands(files)) {
    command.replace(command.find(files.model.path()), files.model.path().size(), no_model.path());
    check_refused(command, "not a GGUF file");
    check_refused(command + " --json /no/such/folder/results.json",
                  "dca_lm: --json /no/such/folder/results.json: cannot be written: No such file");
    check_refused(command + " --json /tmp", "dca_lm: --json /tmp: cannot be written: Is a directory");
    check_refused(command + " --json ''", "--json");
  }
}

TEST_CASE("a run that fails leaves what was there, and nothing beside it") {
  const Files files;
  files.results.write("of another run");
  check_refused(files.ppl("--tokens 9999 --attention dca --json " + files.results.path()), "--tokens 9999");
  CHECK(files.results.read() == "of another run");
}

TEST_CASE("names that are no UTF-8 cost no results") {
  const Files files;
  const std::string model = files.model.path() + "\xff.gguf";
  fs::copy_file(files.model.path(), model);
  for (std::string command : all_commands(files)) {
    command.replace(command.find(files.model.path()), files.model.path().size(), model);
    files.results.cut(0);
    const Outcome outcome = run(command + " --json " + files.results.path());
    INFO(command << "\n" << outcome.output);
    CHECK(outcome.exit_code == 0);
    const json written = json::parse(files.results.read(), nullptr, false);
    REQUIRE(written.is_object());
    CHECK(written.at("model").get<std::string>() == files.model.path() + "\xef\xbf\xbd.gguf");
  }
  fs::remove(model);
}

TEST_CASE("output that does not arrive is an error") {
  const Files files;
  const char* const message = "dca_lm: standard output cannot be written";
  for (const std::string& command : all_commands(files)) {
    INFO(command);
    const Outcome closed = shell("PROGRAM " + command + " --json " + files.results.path() + " >&-");
    CHECK(closed.exit_code == 1);
    CHECK_THAT(closed.output, contains(message));
    CHECK(json::parse(files.results.read()).is_object());  // and nothing else came into their file
  }
}

TEST_CASE("output to a full disk is an error") {
  if (!fs::exists("/dev/full")) return dca_test::skip("no /dev/full");
  const Files files;
  for (const std::string& command : all_commands(files)) {
    INFO(command);
    const Outcome full = shell("PROGRAM " + command + " --json " + files.results.path() + " >/dev/full");
    CHECK(full.exit_code == 1);
    CHECK_THAT(full.output, contains("dca_lm: standard output cannot be written"));
    CHECK(json::parse(files.results.read()).is_object());  // these arrived
  }
  CHECK(shell("PROGRAM --help >/dev/full").exit_code == 1);
  CHECK(shell("PROGRAM ppl --help >/dev/full").exit_code == 1);
}

TEST_CASE("results go to standard output behind what is printed there") {
  const Files files;
  const Outcome outcome =
      shell("PROGRAM " + files.ppl("--tokens 40 --attention rope --json /dev/stdout") + " >" + files.results.path());
  REQUIRE(outcome.exit_code == 0);
  const std::string written = files.results.read();
  CHECK_THAT(written, contains("perplexity\n"));
  CHECK(json::parse(written.substr(written.find("\n{"))).at("tokens") == 40);
  const Outcome piped = run(files.ppl("--tokens 40 --attention rope --json /dev/stdout"));
  CHECK(json::parse(piped.output.substr(piped.output.find("\n{"))).at("tokens") == 40);
}

TEST_CASE("dca_position_map says what it could not write, and keeps what was there") {
  const Files files;
  const std::string picture = " --picture " + files.results.path();
  files.results.write("an older picture");
  CHECK(shell("PROGRAM --chunk-size 4 --local-window 4" + picture, DCA_POSITION_MAP).exit_code == 1);
  CHECK(files.results.read() == "an older picture");
  CHECK(shell("PROGRAM" + picture, DCA_POSITION_MAP).exit_code == 0);
  CHECK(files.results.read().starts_with("<svg"));
  CHECK(files.results.read().ends_with("</svg>\n"));
  const Outcome nowhere = shell("PROGRAM --picture /no/such/folder/map.svg", DCA_POSITION_MAP);
  CHECK(nowhere.exit_code == 1);
  CHECK(nowhere.output.starts_with("dca_position_map: --picture /no/such/folder/map.svg: cannot be written"));
  for (const char* options : {"--chunk-size -1", "--chunk-size 99999999999999999999", "--chunk-size nan",
                              "--chunk-size 9223372036854775807 --composition streaming", "--local-window -1",
                              "--length 0", "--length 1025", "--picture ''"}) {
    INFO(options);
    const Outcome outcome = shell(std::string("PROGRAM ") + options, DCA_POSITION_MAP);
    CHECK(outcome.exit_code > 0);
    CHECK(outcome.exit_code < 126);
  }
}

TEST_CASE("dca_position_map says that a disk is full") {
  if (!fs::exists("/dev/full")) return dca_test::skip("no /dev/full");
  const Outcome full = shell("PROGRAM >/dev/full", DCA_POSITION_MAP);
  CHECK(full.exit_code == 1);
  CHECK_THAT(full.output, contains("dca_position_map: standard output cannot be written"));
  CHECK(shell("PROGRAM --picture /dev/full", DCA_POSITION_MAP).exit_code == 1);
}
