// dca_lm: what Dual Chunk Attention does for a language model beyond its trained window.
#include "command.hpp"
#include "program/run_main.hpp"

namespace dca_lm {
namespace {

int run(int argc, char** argv) {
  CLI::App app("What Dual Chunk Attention does for a language model beyond its trained window");
  app.require_subcommand(1);
  const Command commands[] = {add_ppl(app),  add_passkey(app),  add_needle(app),
                              add_tune(app), add_generate(app), add_batch(app)};
  return program::parse_and_run(app, argc, argv, [&] {
    for (const Command& command : commands) {
      if (command.app->parsed()) return command.run();
    }
    return 1;
  });
}

}  // namespace
}  // namespace dca_lm

int main(int argc, char** argv) {
  return program::run_main("dca_lm", [&] { return dca_lm::run(argc, argv); });
}
