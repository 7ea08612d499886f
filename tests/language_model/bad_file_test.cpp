// GGUF files that lie about themselves: each refused with a message that names what is wrong.
#include <filesystem>

#include "error_of.hpp"
#include "gguf.hpp"
#include "gguf_writer.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"

using namespace dca_lm_test;
using dca_lm::GgufFile;
using dca_test::contains;

namespace {

std::string refusal_of(const std::string& bytes) {
  const TempFile file(bytes);
  return error_of([&] { const GgufFile opened(file.path()); });
}

/// Spoils a right file and checks the message.
template <class Spoil>
void check_refused(const std::string& message, const Spoil& spoil) {
  GgufContents contents = small_contents();
  spoil(contents);
  CHECK_THAT(refusal_of(contents.bytes()), contains(message));
}

constexpr std::uint64_t two_to_61 = std::uint64_t{1} << 61, two_to_62 = 2 * two_to_61, two_to_63 = 2 * two_to_62;

}  // namespace

TEST_CASE("the file that the others spoil is right") { CHECK(refusal_of(small_contents().bytes()) == "no error"); }

TEST_CASE("a file without any table entries is right") { CHECK(refusal_of(GgufContents{}.bytes()) == "no error"); }

TEST_CASE("a path that is no readable file is refused by its name") {
  CHECK_THAT(error_of([] { const GgufFile file("/no/such/file.gguf"); }), contains("/no/such/file.gguf: No such file"));
  const std::string folder = std::filesystem::temp_directory_path().string();
  CHECK_THAT(error_of([&] { const GgufFile file(folder); }), contains(folder + ": not a regular file"));
  const TempFile empty("");
  CHECK_THAT(error_of([&] { const GgufFile file(empty.path()); }), contains(empty.path() + ": the file is empty"));
}

TEST_CASE("what is not GGUF is refused") {
  CHECK_THAT(refusal_of("a text about something else"), contains("not a GGUF file"));
  CHECK_THAT(refusal_of("GGU"), contains("not a GGUF file"));
  check_refused("not a GGUF file", [](GgufContents& c) { c.magic = "GGML"; });
}

TEST_CASE("versions other than 2 and 3 are refused") {
  for (const std::uint32_t version : {0U, 1U, 4U, 5U, 0xffffffffU}) {
    check_refused("GGUF version " + std::to_string(version) + " is not read; must be 2 or 3",
                  [&](GgufContents& c) { c.version = version; });
  }
}

TEST_CASE("big-endian files are refused") {
  check_refused("big-endian", [](GgufContents& c) { c.version = 0x03000000; });
  check_refused("big-endian", [](GgufContents& c) { c.version = 0x02000000; });
}

TEST_CASE("counts beyond the file are refused before anything is allocated for them") {
  for (const std::uint64_t count : {std::uint64_t{1000}, two_to_62, two_to_63, UINT64_MAX}) {
    check_refused(std::to_string(count) + " tensors do not fit", [&](GgufContents& c) { c.tensor_count = count; });
    check_refused(std::to_string(count) + " metadata values do not fit",
                  [&](GgufContents& c) { c.value_count = count; });
  }
}

TEST_CASE("arrays longer than the file are refused, whatever their size in bytes overflows to") {
  for (const std::uint64_t count : {std::uint64_t{100000}, two_to_61, two_to_62, two_to_63, UINT64_MAX}) {
    for (const std::uint32_t type : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U, string_type, array_type, 10U, 11U, 12U}) {
      check_refused(std::to_string(count) + " array elements do not fit",
                    [&](GgufContents& c) { c.set("texts", array_of(type, count, std::string(64, '\0'))); });
    }
  }
}

TEST_CASE("strings longer than the file are refused") {
  for (const std::uint64_t length : {std::uint64_t{100000}, two_to_63, UINT64_MAX, UINT64_MAX - 7}) {
    const std::string text = raw(length) + "abc";
    const std::string message = "truncated: " + std::to_string(length) + " bytes wanted";
    check_refused(message, [&](GgufContents& c) { c.set("text", {string_type, text}); });
    check_refused(message, [&](GgufContents& c) { c.set("texts", array_of(string_type, 1, text)); });
  }
  // The length of the first key stands after magic, version and two counts.
  std::string file = small_contents().bytes();
  file.replace(24, 8, raw(two_to_63));
  CHECK_THAT(refusal_of(file), contains("truncated: " + std::to_string(two_to_63)));
}

TEST_CASE("unknown types of values are refused") {
  for (const std::uint32_t type : {13U, 100U, 0xffffffffU}) {
    const std::string message = "unknown type " + std::to_string(type);
    check_refused(message, [&](GgufContents& c) { c.set("u8", {type, "\1"}); });
    check_refused(message, [&](GgufContents& c) { c.set("texts", array_of(type, 1, "\1")); });
  }
}

TEST_CASE("arrays in arrays without end are refused") {
  check_refused("nested too deeply", [](GgufContents& c) {
    std::string nested;
    for (int depth = 0; depth < 1000; ++depth) nested = raw(array_type) + raw(std::uint64_t{1}) + nested;
    c.set("nested", {array_type, nested});
  });
}

TEST_CASE("names that stand twice are refused") {
  check_refused("key u8 stands twice", [](GgufContents& c) { c.values.emplace_back("u8", value(1.0f)); });
  check_refused("tensor first stands twice", [](GgufContents& c) { c.tensor("second").name = "first"; });
}

TEST_CASE("tensor types that are not read are refused by name of the tensor") {
  for (const std::uint32_t type : {4U, 5U, 9U, 10U, 11U, 15U, 29U, 31U, 0xffffffffU}) {
    check_refused("tensor second: type " + std::to_string(type) + " is not read",
                  [&](GgufContents& c) { c.tensor("second").data.type = type; });
  }
}

TEST_CASE("shapes that cannot be are refused") {
  const auto check_shape = [](const std::string& message, const std::vector<std::uint64_t>& shape) {
    check_refused(message, [&](GgufContents& c) { c.tensor("second").data.shape = shape; });
  };
  check_shape("tensor second: 0 dimensions; must be 1 to 4", {});
  check_shape("tensor second: 5 dimensions; must be 1 to 4", {1, 1, 1, 1, 1});
  check_shape("tensor second: a dimension of size 0", {5, 0});
  check_shape("tensor second: a dimension of size 0", {0});
  check_shape("tensor second: its size overflows", {1, two_to_62, 4});
  check_shape("tensor second: its size overflows", {4, two_to_62});
  check_shape("tensor second: its size overflows", {two_to_63});
  check_shape("tensor second: its size overflows", {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX});
  check_shape("reach beyond", {two_to_62});
  check_refused("tensor third: rows of 33 elements; Q8_0 needs multiples of 32", [](GgufContents& c) {
    c.tensor("third").data.shape = {33, 2};
  });
  // 2^63 elements of 34 / 32 bytes.
  check_refused("tensor third: its size overflows", [](GgufContents& c) {
    c.tensor("third").data.shape = {32, two_to_63};
  });
  // The bytes of these elements fit 64 bits, their number does not.
  check_refused("tensor third: its size overflows", [](GgufContents& c) {
    c.tensor("third").data = {q4_0_type, {two_to_61, 8}, std::string(68, '\0')};
  });
}

TEST_CASE("tensors beyond the end of the file are refused") {
  for (const std::uint64_t offset : {std::uint64_t{96}, std::uint64_t{4096}, two_to_63, UINT64_MAX - 31}) {
    check_refused("tensor third: 68 bytes at offset " + std::to_string(offset) + " reach beyond",
                  [&](GgufContents& c) { c.tensor("third").offset = offset; });
  }
  check_refused("tensor third: 102 bytes at offset 64 reach beyond the 132 bytes of data", [](GgufContents& c) {
    c.tensor("third").data.shape = {32, 3};
  });
}

TEST_CASE("tensors off the alignment are refused") {
  for (const std::uint64_t offset : {std::uint64_t{1}, std::uint64_t{48}, UINT64_MAX}) {
    check_refused("tensor third: offset " + std::to_string(offset) + " is not a multiple of the alignment, 32",
                  [&](GgufContents& c) { c.tensor("third").offset = offset; });
  }
}

TEST_CASE("tensors on the same bytes are refused") {
  check_refused("overlap", [](GgufContents& c) { c.tensor("second").offset = 0; });
  check_refused("tensors first and third overlap", [](GgufContents& c) {
    c.tensor("third").offset = 0;
    c.tensor("second").offset = 96;
  });
  check_refused("tensors first and second overlap", [](GgufContents& c) { c.tensor("first").data.shape = {9}; });
}

TEST_CASE("alignments that are no powers of two from 8 to 2^20 are refused") {
  for (const std::uint32_t alignment : {0U, 1U, 4U, 24U, 33U, 1U << 21, 0xffffffffU}) {
    check_refused("general.alignment: " + std::to_string(alignment) + "; must be a power of two",
                  [&](GgufContents& c) { c.set("general.alignment", value(alignment)); });
  }
  check_refused("general.alignment: wrong type", [](GgufContents& c) { c.set("general.alignment", value("32")); });
  check_refused("general.alignment: wrong type", [](GgufContents& c) { c.set("general.alignment", value(32.0f)); });
  check_refused("general.alignment: -32;",
                [](GgufContents& c) { c.set("general.alignment", value(std::int32_t{-32})); });
}
