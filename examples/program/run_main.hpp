// What the main functions of the programs share.
#pragma once

#include <CLI/CLI.hpp>
#include <iostream>
#include <new>
#include <string>

#include "program/printable.hpp"
#include "program/standard_streams.hpp"

namespace program {

/// Calls run(), which returns the exit code. What it throws comes to stderr, fit to be seen: on one line that begins
/// with the program's name, or with "dca: " where the library threw it.
template <class Run>
int run_main(const char* name, const Run& run) {
  hold_standard_streams();
  int code = 1;
  try {
    code = run();
  } catch (const std::bad_alloc&) {
    std::cerr << name << ": not enough memory\n";
  } catch (const std::exception& error) {
    const std::string message = printable(error.what(), most_of_message);
    std::cerr << (message.starts_with("dca: ") ? "" : std::string(name) + ": ") << message << "\n";
  }
  return finish_output(name, code);
}

/// Parses the arguments and calls run(); the exit code. What is wrong with arguments is printed fit to be seen as well.
template <class Run>
int parse_and_run(CLI::App& app, int argc, char** argv, const Run& run) {
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return printable(error.what(), most_of_message, "\n") + "\nRun with --help for more information.\n";
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return run();
}

/// For options: the name of a file, which is not empty.
inline CLI::Validator file_name() {
  return CLI::Validator([](std::string& path) { return path.empty() ? "the name of a file is missing" : ""; }, "");
}

}  // namespace program
