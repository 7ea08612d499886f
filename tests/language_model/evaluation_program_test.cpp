// dca_lm's evaluation as its users meet it: attentions and their numbers, passkey, needle, tune.
#include <algorithm>
#include <cmath>

#include "program.hpp"

using namespace dca_lm_test;
using dca_test::contains;
using nlohmann::json;

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
  CHECK(keys("intra --chunk-size 16") == "chunk_size=16 local_window=2 ");
  CHECK(keys("intra+inter") == "chunk_size=48 local_window=8 ");
  check_refused(files.ppl("--tokens 100 --attention dca --context 64"), "--context 64; is for --attention rope");
  check_refused(files.ppl("--tokens 100 --attention rope --context 64 --step 65"), "a step of 65; must be from 1");
  check_refused(files.ppl("--tokens 100 --attention rope --step 65"), "--step; is of --context");
}

TEST_CASE("every attention reads every storage, at the cost of its rounding") {
  const Files files;
  const auto perplexity = [&](const std::string& options) {
    const Outcome outcome = run(files.ppl("--tokens 128 --json " + files.results.path() + " --attention " + options));
    INFO(outcome.output);
    REQUIRE(outcome.exit_code == 0);
    return json::parse(files.results.read()).at("perplexity").get<double>();
  };
  for (const std::string attention : {"dca", "rope", "streaming", "self-extend", "intra", "intra+inter"}) {
    const double exact = perplexity(attention);
    for (const std::string type : {"half", "bfloat16", "int8"}) {
      INFO(attention << " " << type);
      const double stored = perplexity(attention + " --kv-type " + type);
      CHECK(stored != exact);
      CHECK(stored == dca_test::Approx(exact).epsilon(0.02));
    }
  }
}

TEST_CASE("a choice of all distant keys by --inter changes nothing, and one of none does") {
  const Files files;
  const auto perplexity = [&](const std::string& options) {
    const Outcome outcome = run(files.ppl("--tokens 128 --chunk-size 12 --local-window 4 --json " +
                                          files.results.path() + " --attention " + options));
    INFO(outcome.output);
    REQUIRE(outcome.exit_code == 0);
    return json::parse(files.results.read()).at("perplexity").get<double>();
  };
  for (const std::string attention : {"dca", "dca --kv-type int8", "dca+ntk", "intra+inter"}) {
    const double all = perplexity(attention);
    CHECK(perplexity(attention + " --inter all") == all);
    CHECK(perplexity(attention + " --inter top:128") == all);
    CHECK(perplexity(attention + " --inter recent:128") == all);
    CHECK(perplexity(attention + " --inter top:0") != all);
    CHECK(perplexity(attention + " --inter recent:0") != all);
  }
  perplexity("dca --inter recent:0 --chosen");
  const json none = json::parse(files.results.read()).at("chosen");
  REQUIRE(none.size() > 0);
  CHECK(none.back().at("last_query") == 128);
  CHECK(none.back().at("keys") == 112);
  CHECK(none.back().at("blocks").size() == 0);
  perplexity("dca --inter top:128 --chosen");
  CHECK(json::parse(files.results.read()).at("chosen").back().at("blocks") == json::array({0}));
  for (const char* wrong : {"some", "top", "top:", "top:-1", "top:7x", "recent:1.5", ":4", "all:3"}) {
    check_refused(files.ppl(std::string("--tokens 100 --attention dca --inter ") + wrong), "must be all, recent:N or");
  }
  check_refused(files.ppl("--tokens 100 --attention rope --inter top:8"), "--inter: only dca");
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
  check_refused(files.needle("--tokens 5000 --attention dca"), "--tokens 5000; " + files.text.path() + " has");
  check_refused("needle --model " + files.model.path() + " --tokens 160 --attention dca", "--text");
}

TEST_CASE("tune tries sizes, prints those that it finds as a model's configuration, and writes them all") {
  const Files files;
  const std::string command = "tune --model " + files.model.path() + " --text " + files.text.path();
  const Outcome outcome = run(command + " --json " + files.results.path());
  INFO(outcome.output);
  REQUIRE(outcome.exit_code == 0);
  const json written = json::parse(files.results.read());
  CHECK(written.at("tokens").get<int>() == 96);
  CHECK(written.at("tried").size() > 7);
  const json& found = written.at("dual_chunk_attention_config");
  CHECK(found.at("original_max_position_embeddings").get<int>() == 64);
  double best = HUGE_VAL;
  for (const json& one : written.at("tried")) best = std::min(best, one.at("perplexity").get<double>());
  for (const json& one : written.at("tried")) {
    CHECK(one.at("tokens_per_second").get<double>() > 0);
    CHECK(one.at("above_best").get<double>() ==
          dca_test::Approx(one.at("perplexity").get<double>() / best - 1).margin(1e-9));
    if (one.at("perplexity") != best) continue;
    CHECK(found.at("chunk_size") == one.at("chunk_size"));
    CHECK(found.at("local_size") == one.at("local_window"));
  }
  const json printed = json::parse(outcome.output.substr(outcome.output.find("\n{")));
  CHECK(printed.at("dual_chunk_attention_config") == found);

  REQUIRE(run(command + " --budget-minutes 0 --json " + files.results.path()).exit_code == 0);
  const json single = json::parse(files.results.read());
  CHECK(single.at("tried").size() == 1);
  CHECK(single.at("dual_chunk_attention_config").at("chunk_size").get<int>() == 48);
  check_refused(command + " --tokens 64", "--tokens 64; must be more than the trained window, 64");
  check_refused(command + " --tokens 500", "--tokens 500; " + files.text.path() + " has");
  check_refused(command + " --budget-minutes -1", "--budget-minutes");
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
