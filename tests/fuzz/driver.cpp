// Runs a target without libFuzzer: the files of a corpus, then pseudo-random inputs made from them.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "fuzz/target.hpp"

namespace {

using Input = std::vector<std::uint8_t>;

struct Options {
  unsigned long long seed = 1, inputs = 1000, first = 0;
  double seconds = 0;  // 0: no limit
  std::size_t most_bytes = 512;
  std::vector<std::string> paths{};
};

// For whoever ends the program: what it was doing.
char doing[256] = "nothing";
const Input* running = nullptr;

void note(int signal) {
  std::fprintf(stderr, "while running %s\n", doing);
  if (running != nullptr) {
    std::fprintf(stderr, "the input, in hexadecimal: ");
    for (const std::uint8_t byte : *running) std::fprintf(stderr, "%02x", byte);
    std::fprintf(stderr, "\n");
  }
  std::fflush(stderr);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void run(const Input& input) {
  running = &input;
  // Memory that ends with the last byte, so that a sanitizer sees a read beyond it.
  const std::vector<std::uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  running = nullptr;
}

Input random_bytes(std::mt19937_64& random, std::size_t most) {
  Input input(random() % (most + 1));
  for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random());
  return input;
}

/// A few small changes: bytes replaced, put in, taken out, copied; or the front of one input and the back of another.
Input mutated(const std::vector<Input>& corpus, std::mt19937_64& random, std::size_t most) {
  if (corpus.empty() || random() % 4 == 0) return random_bytes(random, most);
  Input input = corpus[random() % corpus.size()];
  if (random() % 4 == 0) {
    const Input& other = corpus[random() % corpus.size()];
    input.resize(random() % (input.size() + 1));
    const auto from = static_cast<std::ptrdiff_t>(random() % (other.size() + 1));
    input.insert(input.end(), other.begin() + from, other.end());
  }
  for (auto changes = 1 + random() % 6; changes > 0; --changes) {
    const auto at = static_cast<std::ptrdiff_t>(random() % (input.size() + 1));
    const auto place = input.begin() + at;
    const bool inside = place != input.end();
    switch (random() % 5) {
      case 0:
        if (inside) *place = static_cast<std::uint8_t>(random());
        break;
      case 1:
        if (inside) *place = static_cast<std::uint8_t>(*place ^ 1U << random() % 8);
        break;
      case 2:
        if (inside) *place = static_cast<std::uint8_t>(*place + (random() % 2 == 0 ? 1U : 255U));
        break;
      case 3:
        input.insert(place, static_cast<std::uint8_t>(random()));
        break;
      default:
        if (inside) input.erase(place);
    }
  }
  if (input.size() > most) input.resize(most);
  return input;
}

std::vector<std::string> files_of(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

Input read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
    std::exit(2);
  }
  return Input(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

constexpr const char* usage =
    "usage: TARGET [--seed N] [--first N] [--inputs N] [--seconds S] [--max-len N] [FILE | FOLDER]...\n"
    "Runs the files, then pseudo-random inputs made from them: those from number FIRST on, INPUTS of them, for "
    "SECONDS\n"
    "at most. An input depends on the files, the seed and its number alone.\n";

Options parsed(int argc, char** argv) {
  Options options;
  for (int k = 1; k < argc; ++k) {
    const std::string name = argv[k];
    if (name.rfind("--", 0) != 0) {
      options.paths.push_back(name);
      continue;
    }
    if (k + 1 == argc) {
      std::fputs(usage, stderr);
      std::exit(2);
    }
    const char* const value = argv[++k];
    char* end = nullptr;
    if (name == "--seconds") {
      options.seconds = std::strtod(value, &end);
    } else {
      const unsigned long long number = std::strtoull(value, &end, 10);
      if (name == "--seed") {
        options.seed = number;
      } else if (name == "--first") {
        options.first = number;
      } else if (name == "--inputs") {
        options.inputs = number;
      } else if (name == "--max-len") {
        options.most_bytes = static_cast<std::size_t>(number);
      } else {
        end = nullptr;
      }
    }
    if (end == nullptr || end == value || *end != '\0') {
      std::fputs(usage, stderr);
      std::exit(2);
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parsed(argc, argv);
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS, SIGILL}) std::signal(signal, note);
  std::vector<Input> corpus;
  for (const std::string& path : files_of(options.paths)) {
    std::snprintf(doing, sizeof(doing), "%s", path.c_str());
    corpus.push_back(read(path));
    run(corpus.back());
  }
  std::fprintf(stderr, "%zu files; then random inputs with --seed %llu --first %llu\n", corpus.size(), options.seed,
               options.first);
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  unsigned long long done = 0;
  for (; done < options.inputs && (options.seconds <= 0 || elapsed() < options.seconds); ++done) {
    const unsigned long long number = options.first + done;
    std::mt19937_64 random(options.seed * 1000003 + number);
    std::snprintf(doing, sizeof(doing), "--seed %llu --first %llu --inputs 1 and the same files", options.seed, number);
    run(mutated(corpus, random, options.most_bytes));
  }
  std::fprintf(stderr, "%llu random inputs in %.1f s, nothing found\n", done, elapsed());
}
