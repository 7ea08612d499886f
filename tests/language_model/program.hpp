// dca_lm as a process, for tests of its commands.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

namespace dca_lm_test {

struct Outcome {
  int exit_code;
  std::string output;  // both streams
};

inline Outcome run_command(const std::string& command) {
  FILE* const stream = ::popen((command + " 2>&1 </dev/null").c_str(), "r");
  if (stream == nullptr) throw std::runtime_error("popen failed");
  std::string output;
  std::array<char, 4096> buffer;
  for (std::size_t count; (count = std::fread(buffer.data(), 1, buffer.size(), stream)) > 0;) {
    output.append(buffer.data(), count);
  }
  const int status = ::pclose(stream);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

/// Runs dca_lm with arguments that need no quoting but a path's.
inline Outcome run(const std::string& arguments) { return run_command("'" DCA_LM_PROGRAM "' " + arguments); }

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

/// The program fails, neither with a signal nor with a sanitizer's report, and says why.
inline void check_refused(const std::string& arguments, const std::string& message) {
  const Outcome outcome = run(arguments);
  INFO(arguments);
  CHECK(outcome.exit_code > 0);
  CHECK(outcome.exit_code < 126);
  CHECK_THAT(outcome.output, dca_test::contains(message));
  CHECK(outcome.output.find("Sanitizer") == std::string::npos);
}

}  // namespace dca_lm_test
