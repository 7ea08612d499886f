// dca_lm: what Dual Chunk Attention does for a language model beyond its trained window.
#include <iostream>

#include "command.hpp"
#include "error.hpp"
#include "messages.hpp"

namespace dca_lm {
namespace {

int run(int argc, char** argv) {
  CLI::App app("What Dual Chunk Attention does for a language model beyond its trained window");
  app.require_subcommand(1);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return printable(error.what(), program::most_of_message, "\n") + "\nRun with --help for more information.\n";
  });
  const Command commands[] = {add_ppl(app),  add_passkey(app),  add_needle(app),
                              add_tune(app), add_generate(app), add_batch(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  for (const Command& command : commands) {
    if (command.app->parsed()) return command.run();
  }
  return 1;
}

/// The one line that an error comes to. The program's own begin with its name, the library's with "dca: ".
void report(const std::string& message) {
  const bool named = message.starts_with("dca_lm: ") || message.starts_with("dca: ");
  std::cerr << (named ? "" : "dca_lm: ") << printable(message, program::most_of_message) << "\n";
}

}  // namespace
}  // namespace dca_lm

int main(int argc, char** argv) {
  program::hold_standard_streams();
  int code = 1;
  try {
    code = dca_lm::run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "dca_lm: not enough memory\n";
  } catch (const std::exception& error) {
    dca_lm::report(error.what());
  }
  return program::finish_output("dca_lm", code);
}
