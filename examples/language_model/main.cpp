// dca_lm: what Dual Chunk Attention does for a language model beyond its trained window.
#include <iostream>

#include "command.hpp"

namespace dca_lm {
namespace {

int run(int argc, char** argv) {
  CLI::App app("What Dual Chunk Attention does for a language model beyond its trained window");
  app.require_subcommand(1);
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

}  // namespace
}  // namespace dca_lm

int main(int argc, char** argv) {
  try {
    return dca_lm::run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "dca_lm: not enough memory\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
  }
  return 1;
}
