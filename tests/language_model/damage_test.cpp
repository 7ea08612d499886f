// Files cut short and files with flipped bits: loaded or refused, never a crash and never memory beyond their size.
#include <algorithm>
#include <cstring>
#include <memory>

#include "error_of.hpp"
#include "gguf_reader.hpp"
#include "memory_limit.hpp"
#include "open_model.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"
#include "tiny_model.hpp"

using namespace dca_lm_test;

namespace {

/// Reads both tables from memory that ends with the last byte, so that a sanitizer sees a read beyond it.
bool tables_are_right(const std::string& bytes) {
  const auto memory = std::make_unique<std::byte[]>(bytes.size());
  std::memcpy(memory.get(), bytes.data(), bytes.size());
  return error_of([&] { dca_lm::read_gguf_tables({memory.get(), bytes.size()}); }) == "no error";
}

/// Loads the model and, where that works, reads a few tokens: 1 where it works, 0 where it is refused.
int load(const std::string& path) {
  int worked = 0;
  error_of([&] {
    const OpenModel model(path);
    try {
      model.log_probabilities({.name = "dca", .chunk_size = 6, .local_window = 2}, {0, 1, 2, 3, 4, 5, 6, 7});
    } catch (const std::invalid_argument&) {
      return;  // frequencies that the file makes infinite: dca's own refusal
    }
    worked = 1;
  });
  return worked;
}

}  // namespace

TEST_CASE("every shorter prefix of a file is refused") {
  const std::string bytes = small_contents().bytes();
  const TempFile file(bytes);
  REQUIRE(tables_are_right(bytes));
  for (std::size_t length = bytes.size(); length-- > 0;) {
    INFO("the first " << length << " of " << bytes.size() << " bytes");
    REQUIRE_FALSE(tables_are_right(bytes.substr(0, length)));
    file.cut(length);
    REQUIRE(error_of([&] { const dca_lm::GgufFile opened(file.path()); }) != "no error");
  }
}

TEST_CASE("what may follow the last tensor may be missing") {
  // Writers pad the last tensor to the alignment, but nothing lies in the padding: with or without, the file has all.
  const std::string bytes = small_contents().bytes();
  for (std::size_t padding = 0; padding < 32; ++padding) CHECK(tables_are_right(bytes + std::string(padding, '\0')));
  // So has a file without tensors that ends with its tables, before the data would begin.
  GgufContents no_tensors = small_contents();
  no_tensors.tensors.clear();
  CHECK(tables_are_right(no_tensors.bytes()));
}

TEST_CASE("every shorter prefix of a model is refused") {
  Random random(6);
  const std::string bytes = make_tiny_model({.layers = 1}, random).bytes();
  const TempFile file(bytes);
  REQUIRE(load(file.path()) == 1);
  for (std::size_t length = bytes.size() - 1; length > 101; length -= 101) {
    INFO("the first " << length << " of " << bytes.size() << " bytes");
    file.cut(length);
    REQUIRE(load(file.path()) == 0);
  }
}

TEST_CASE("a model with flipped bytes in its head works or is refused") {
  constexpr int mutations = 3000;
  Random random(7);
  const GgufContents contents = make_tiny_model({.layers = 1}, random);
  const std::string bytes = contents.bytes();
  const auto head = static_cast<std::ptrdiff_t>(contents.head().size());
  // Most of the head is vocabulary, which takes any text: the half behind it is tables, and gets half of the flips.
  const auto tables = head - 1400;
  const TempFile file(bytes);
  const MemoryLimit limit(std::size_t{1} << 29);
  int worked = 0;
  for (int k = 0; k < mutations; ++k) {
    std::string damaged = bytes;
    std::string what = "mutation " + std::to_string(k) + ":";
    for (auto flips = random.integer(1, 3); flips > 0; --flips) {
      const auto at = random.integer(random.integer(0, 1) == 0 ? 0 : tables, head - 1);
      const auto bits = random.integer(0, 1) == 0 ? 1 << random.integer(0, 7) : random.integer(1, 255);
      damaged[static_cast<std::size_t>(at)] = static_cast<char>(damaged[static_cast<std::size_t>(at)] ^ bits);
      what += " byte " + std::to_string(at) + " ^ " + std::to_string(bits);
    }
    INFO(what);
    tables_are_right(damaged);
    file.write(damaged.substr(0, static_cast<std::size_t>(head)));
    worked += load(file.path());
  }
  // Both happen, or the flips are not where they matter.
  CHECK(worked > mutations / 50);
  CHECK(worked < mutations * 49 / 50);
}
