// What script/evaluate runs, on a tiny model: every mode measures, goes on where it was stopped, and writes its parts.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include "program.hpp"

using namespace dca_lm_test;
using dca_test::contains;
using nlohmann::json;

namespace {

/// A model trained on 1024 tokens, a text 26 times as long, and a folder for results.
struct Evaluation {
  Evaluation() {
    Random random(60);
    TinySizes sizes;
    sizes.trained_window = 1024;
    model.emplace(make_tiny_model(sizes, random).bytes());
    std::string words;
    for (int k = 0; k < 6000; ++k) words += "the " + std::to_string(k) + (k % 12 == 11 ? " is.\n" : " and ");
    text.emplace(words);
    folder = text->path() + ".results";
  }
  ~Evaluation() { std::filesystem::remove_all(folder); }

  Outcome run(const std::string& mode, const std::string& program = DCA_LM_PROGRAM) const {
    return run_on(model->path(), mode, program);
  }
  Outcome run_on(const std::string& path, const std::string& mode, const std::string& program = DCA_LM_PROGRAM) const {
    return run_command(DCA_EVALUATE " --program '" + program + "' --model " + path + " --text " + text->path() +
                       " --out " + folder + " --mode " + mode);
  }

  json written(const std::string& name) const {
    std::ifstream file(folder + "/" + name);
    return json::parse(file);
  }

  std::optional<TempFile> model, text;
  std::string folder;
};

}  // namespace

TEST_CASE("script/evaluate measures its parts, and what is there no more") {
  const Evaluation evaluation;
  const Outcome first = evaluation.run("quick");
  INFO(first.output);
  REQUIRE(first.exit_code == 0);
  for (const char* part : {"perplexity", "passkey", "needle", "ablation", "tune"}) {
    INFO(part);
    CHECK(evaluation.written(part + std::string(".json")).size() > 0);
  }
  for (const json& record : evaluation.written("perplexity.json")) {
    INFO(record.dump());
    CHECK(record.at("buckets").size() == 5);
    CHECK(record.at("buckets").back().contains("over_control") == (record.at("attention") != "control"));
  }
  CHECK(evaluation.written("dual_chunk_attention_config.json").contains("dual_chunk_attention_config"));
  CHECK_THAT(first.output, contains("perplexity over length: dca, 1280 tokens"));

  const Outcome second = evaluation.run("quick");
  CHECK(second.exit_code == 0);
  CHECK_THAT(second.output, !contains("perplexity over length: dca, 1280 tokens"));

  std::ofstream(evaluation.text->path(), std::ios::app) << "more";
  const Outcome other = evaluation.run("quick");
  CHECK(other.exit_code > 0);
  CHECK_THAT(other.output, contains("has results of another model or text"));
}

TEST_CASE("script/evaluate ends in the minutes that it has, and goes on where it has more") {
  const Evaluation evaluation;
  const Outcome none = evaluation.run("quick --minutes 0");
  INFO(none.output);
  REQUIRE(none.exit_code == 0);
  CHECK_THAT(none.output, contains("left out, for they do not fit the time") && !contains("ablation: "));
  CHECK(!std::filesystem::exists(evaluation.folder + "/perplexity.json"));
  const Outcome some = evaluation.run("quick --minutes 0.2");
  INFO(some.output);
  REQUIRE(some.exit_code == 0);
  CHECK(evaluation.written("perplexity.json").size() > 0);
  CHECK_THAT(some.output, contains("left out"));
}

TEST_CASE("script/evaluate leaves out what a machine slower than estimated has no time for, and goes on with it") {
  const Evaluation evaluation;
  std::filesystem::create_directories(evaluation.folder);
  const std::string slow = evaluation.folder + "/slow";  // but not in the runs that estimates come from
  std::ofstream(slow) << "#!/bin/sh\ncase \"$*\" in *--bucket*) sleep 4 ;; esac\nexec '" DCA_LM_PROGRAM "' \"$@\"\n";
  std::filesystem::permissions(slow, std::filesystem::perms::owner_all);
  const Outcome first = evaluation.run("quick --minutes 0.15", slow);
  INFO(first.output);
  REQUIRE(first.exit_code == 0);
  CHECK_THAT(first.output, contains("left out, for the machine was slower than estimated"));
  const std::size_t measured = evaluation.written("perplexity.json").size();
  CHECK(measured > 0);
  const Outcome second = evaluation.run("quick --minutes 0.15");
  INFO(second.output);
  REQUIRE(second.exit_code == 0);
  CHECK_THAT(second.output, !contains("slower than estimated"));
  CHECK(evaluation.written("plan-quick.json").at("chosen").size() > measured);
}

TEST_CASE("script/evaluate that is stopped reports what it has, and measures nothing twice") {
  const Evaluation evaluation;
  std::filesystem::create_directories(evaluation.folder);
  // Stops its caller once, when its own results are written and before it ends.
  const std::string program = evaluation.folder + "/program", log = evaluation.folder + "/log";
  std::ofstream(program) << "#!/bin/sh\necho \"$*\" >>" << log << "\n'" DCA_LM_PROGRAM "' \"$@\" || exit\n"
                         << "case \"$*\" in *--bucket*) mkdir " << log << ".once 2>/dev/null || exit 0\n"
                         << "kill -TERM $PPID; exec sleep 9 ;; esac\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  const Outcome first = evaluation.run("quick", program);
  INFO(first.output);
  CHECK(first.exit_code == 1);
  CHECK_THAT(first.output, contains("stopped after") && contains("the same command goes on"));
  const Outcome second = evaluation.run("quick", program);
  INFO(second.output);
  REQUIRE(second.exit_code == 0);
  std::ifstream lines(log);
  std::set<std::string> calls;
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    CHECK(calls.insert(line).second);
  }
  CHECK(calls.size() == evaluation.written("plan-quick.json").at("chosen").size() + 2);  // two to estimate from
}

TEST_CASE("script/evaluate refuses minutes without an end, and files that it might wait for") {
  const Evaluation evaluation;
  for (const char* minutes : {"nan", "inf", "-1", "some"}) {
    const Outcome outcome = evaluation.run(std::string("quick --minutes ") + minutes);
    INFO(minutes << "\n" << outcome.output);
    CHECK(outcome.exit_code > 0);
    CHECK_THAT(outcome.output, contains("--minutes") && !contains("Traceback"));
  }
  const std::string pipe = evaluation.text->path() + ".pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const Outcome outcome = run_command("timeout 10 " DCA_EVALUATE " --program '" DCA_LM_PROGRAM "' --model " + pipe +
                                      " --text " + evaluation.text->path() + " --out " + evaluation.folder);
  ::unlink(pipe.c_str());
  CHECK(outcome.exit_code == 2);
  CHECK_THAT(outcome.output, contains("not a regular file"));
}

TEST_CASE("script/evaluate measures a model whose name is no UTF-8") {
  const Evaluation evaluation;
  const std::string model = evaluation.model->path() + "\xff";
  std::filesystem::copy_file(evaluation.model->path(), model);
  const Outcome outcome = evaluation.run_on(model, "quick --minutes 0");
  std::filesystem::remove(model);
  INFO(outcome.output);
  CHECK(outcome.exit_code == 0);
  CHECK(evaluation.written("inputs.json").contains("model"));
}

TEST_CASE("script/evaluate reads 25 times the trained window") {
  const Evaluation evaluation;
  const Outcome outcome = evaluation.run("headline");
  INFO(outcome.output);
  REQUIRE(outcome.exit_code == 0);
  const json records = evaluation.written("headline.json");
  REQUIRE(records.size() == 2);
  CHECK(records[0].at("attention") == "dca+top");
  CHECK(records[0].at("inter") == "top:256");
  CHECK(records[0].at("peak_memory_bytes") > 1 << 20);
  CHECK(records[1].at("context") == 1024);
  CHECK(records[1].at("step") == 1024);
  for (const json& record : records) {
    CHECK(record.at("tokens") == 25600);
    REQUIRE(record.at("buckets").size() == 25);
    for (const json& bucket : record.at("buckets")) {  // the second half of each of the control's windows
      CHECK(bucket.at("tokens") == (bucket.at("from") == 0 ? 1024 : 512));
      CHECK(bucket.contains("over_control") == (record.at("attention") != "control"));
    }
  }
}
