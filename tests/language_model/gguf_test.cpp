// Reading of right GGUF files: every kind of metadata value, every type of tensor.
#include <algorithm>
#include <cmath>

#include "dequantize.hpp"
#include "error_of.hpp"
#include "gguf_writer.hpp"
#include "support/catch.hpp"
#include "temp_file.hpp"

using namespace dca_lm_test;
using dca_lm::GgufArray;
using dca_lm::GgufFile;
using dca_test::contains;

namespace {

template <class T>
T stored(const GgufFile& file, const char* key) {
  const dca_lm::GgufValue* const found = file.find(key);
  REQUIRE(found != nullptr);
  REQUIRE(std::holds_alternative<T>(*found));
  return std::get<T>(*found);
}

/// The elements of one tensor, through a file.
std::vector<float> through_file(const TensorData& tensor) {
  GgufContents contents;
  contents.tensors.push_back({"other", {f32_type, {1}, std::string(4, '\7')}});
  contents.tensors.push_back({"x", tensor});
  const TempFile written(contents.bytes());
  const GgufFile file(written.path());
  const dca_lm::GgufTensor* const found = file.find_tensor("x");
  REQUIRE(found != nullptr);
  std::vector<float> elements(found->rows * found->columns);
  dca_lm::dequantize_rows(*found, 0, elements);
  return elements;
}

/// Whether floats are the numbers expected, rounded nowhere; one NaN is like another.
void check_exactly(const std::vector<float>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  std::size_t wrong = 0;
  for (std::size_t k = 0; k < actual.size(); ++k) {
    const auto given = static_cast<double>(actual[k]);
    if (given != expected[k] && !(std::isnan(given) && std::isnan(expected[k]))) ++wrong;
  }
  CHECK(wrong == 0);
}

/// A tensor of all numbers of 16 bits.
TensorData all_of_16_bits(std::uint32_t type) {
  TensorData tensor{type, {256, 256}, ""};
  for (unsigned bits = 0; bits < 65536; ++bits) tensor.bytes += raw(static_cast<std::uint16_t>(bits));
  return tensor;
}

}  // namespace

TEST_CASE("values of every type are read as they were written") {
  const TempFile written(small_contents().bytes());
  const GgufFile file(written.path());
  CHECK(stored<std::uint64_t>(file, "u8") == 200);
  CHECK(stored<std::int64_t>(file, "i8") == -100);
  CHECK(stored<std::uint64_t>(file, "u16") == 60000);
  CHECK(stored<std::int64_t>(file, "i16") == -30000);
  CHECK(stored<std::uint64_t>(file, "u32") == 4000000000U);
  CHECK(stored<std::int64_t>(file, "i32") == -2000000000);
  CHECK(stored<double>(file, "f32") == -0.15625);
  CHECK(stored<bool>(file, "yes"));
  CHECK_FALSE(stored<bool>(file, "no"));
  CHECK(stored<std::string_view>(file, "text") == "a text with \xe2\x82\xac");
  CHECK(stored<std::string_view>(file, "empty").empty());
  CHECK(stored<std::uint64_t>(file, "u64") == 18000000000000000000U);
  CHECK(stored<std::int64_t>(file, "i64") == -9000000000000000000);
  CHECK(stored<double>(file, "f64") == 0.1);
  CHECK(stored<GgufArray>(file, "floats").type == dca_lm::ValueType::float32);
  CHECK(stored<GgufArray>(file, "floats").bytes.size() == 8);
  CHECK(stored<GgufArray>(file, "nested").type == dca_lm::ValueType::array);
  CHECK(stored<GgufArray>(file, "nested").count == 2);
  CHECK(file.find("another") == nullptr);
}

TEST_CASE("getters give what was written") {
  const TempFile written(small_contents().bytes());
  const GgufFile file(written.path());
  CHECK(file.integer("u8", 200, 200) == 200);
  CHECK(file.integer("u64", 0, UINT64_MAX) == 18000000000000000000U);
  CHECK(file.number("f32") == -0.15625);
  CHECK(file.number("f64") == 0.1);
  CHECK(file.string("text") == "a text with \xe2\x82\xac");
  CHECK(file.strings("texts") == std::vector<std::string_view>{"one", "", "three"});
  CHECK(file.integers("int32s") == std::vector<std::int64_t>{1, -2, 3});
  CHECK(file.integers("nothing").empty());
  CHECK(file.optional_integer("u16", 0, 60000) == 60000);
  CHECK(file.optional_integer("another", 0, 1) == std::nullopt);
}

TEST_CASE("getters refuse other types, missing keys and numbers out of range by the key's name") {
  const TempFile written(small_contents().bytes());
  const GgufFile file(written.path());
  CHECK_THAT(error_of([&] { file.integer("another", 0, 1); }), contains("the file has no another"));
  CHECK_THAT(error_of([&] { file.integer("text", 0, 1); }), contains("text: wrong type; must be an integer"));
  CHECK_THAT(error_of([&] { file.integer("f32", 0, 1); }), contains("f32: wrong type"));
  CHECK_THAT(error_of([&] { file.integer("yes", 0, 1); }), contains("yes: wrong type"));
  CHECK_THAT(error_of([&] { file.integer("u8", 0, 199); }), contains("u8: 200; must be from 0 to 199"));
  CHECK_THAT(error_of([&] { file.integer("u8", 201, 300); }), contains("u8: 200; must be from 201 to 300"));
  CHECK_THAT(error_of([&] { file.integer("i8", 0, UINT64_MAX); }), contains("i8: -100; must be from 0"));
  CHECK_THAT(error_of([&] { file.optional_integer("u8", 0, 1); }), contains("u8: 200"));
  CHECK_THAT(error_of([&] { file.number("u8"); }), contains("u8: wrong type"));
  CHECK_THAT(error_of([&] { file.string("u8"); }), contains("u8: wrong type; must be a string"));
  CHECK_THAT(error_of([&] { file.strings("int32s"); }), contains("int32s: wrong type; must be an array of strings"));
  CHECK_THAT(error_of([&] { file.strings("text"); }), contains("text: wrong type"));
  CHECK_THAT(error_of([&] { file.integers("floats"); }), contains("floats: wrong type"));
}

TEST_CASE("a key is shown with its control characters escaped") {
  using namespace std::string_literals;
  const std::string key = "\0\x1b[2J"s;
  GgufContents contents;
  contents.set(key, value(std::uint8_t{1}));
  const TempFile written(contents.bytes());
  const GgufFile file(written.path());
  CHECK_THAT(error_of([&] { file.string(key); }), contains("\\x00\\x1b[2J: wrong type; must be a string"));
  CHECK_THAT(error_of([&] { file.integer(key, 2, 3); }), contains("\\x00\\x1b[2J: 1; must be from 2 to 3"));
  CHECK_THAT(error_of([&] { file.integer("\n", 2, 3); }), contains("the file has no \\x0a"));
}

TEST_CASE("a number that is not finite is refused") {
  GgufContents contents;
  contents.set("nan", value(std::nanf("")));
  contents.set("infinite", value(HUGE_VAL));
  const TempFile written(contents.bytes());
  const GgufFile file(written.path());
  CHECK_THAT(error_of([&] { file.number("nan"); }), contains("nan: nan; must be finite"));
  CHECK_THAT(error_of([&] { file.number("infinite"); }), contains("must be finite"));
}

TEST_CASE("version 2 is read as version 3 is") {
  GgufContents contents = small_contents();
  contents.version = 2;
  const TempFile written(contents.bytes());
  CHECK(GgufFile(written.path()).tensors().size() == 3);
}

TEST_CASE("tensors lie where the alignment of the file puts them") {
  for (const std::uint32_t alignment : {8U, 32U, 256U}) {
    GgufContents contents = small_contents();
    contents.alignment = alignment;
    contents.set("general.alignment", value(alignment));
    const TempFile written(contents.bytes());
    const GgufFile file(written.path());
    const dca_lm::GgufTensor* const third = file.find_tensor("third");
    REQUIRE(third != nullptr);
    CHECK(third->shape == std::vector<std::uint64_t>{32, 2});
    CHECK(third->bytes.size() == 68);
    CHECK(std::all_of(third->bytes.begin(), third->bytes.end(), [](std::byte b) { return b == std::byte{3}; }));
  }
}

TEST_CASE("a whole number may have any integer type") {
  const std::vector<Value> alignments = {value(std::uint8_t{64}),  value(std::int8_t{64}),   value(std::uint16_t{64}),
                                         value(std::int16_t{64}),  value(std::uint32_t{64}), value(std::int32_t{64}),
                                         value(std::uint64_t{64}), value(std::int64_t{64})};
  for (const Value& alignment : alignments) {
    GgufContents contents = small_contents();
    contents.alignment = 64;
    contents.set("general.alignment", alignment);
    const TempFile written(contents.bytes());
    INFO("type " << alignment.type);
    CHECK(error_of([&] { CHECK(GgufFile(written.path()).integer("general.alignment", 64, 64) == 64); }) == "no error");
  }
}

TEST_CASE("whole numbers of an array may have any integer type") {
  GgufContents contents;
  const std::vector<std::pair<std::string, Value>> arrays = {
      {"u8", array<std::uint8_t>({1, 2})},   {"i8", array<std::int8_t>({1, 2})},
      {"u16", array<std::uint16_t>({1, 2})}, {"i16", array<std::int16_t>({1, 2})},
      {"u32", array<std::uint32_t>({1, 2})}, {"i32", array<std::int32_t>({1, 2})},
      {"u64", array<std::uint64_t>({1, 2})}, {"i64", array<std::int64_t>({1, 2})}};
  for (const auto& [key, content] : arrays) contents.set(key, content);
  contents.set("extremes", array<std::int64_t>({INT64_MIN, INT64_MAX}));
  contents.set("most", array<std::uint64_t>({INT64_MAX}));
  contents.set("too large", array<std::uint64_t>({1, INT64_MAX + std::uint64_t{1}}));
  const TempFile written(contents.bytes());
  const GgufFile file(written.path());
  for (const auto& [key, content] : arrays) {
    INFO(key);
    CHECK(file.integers(key) == std::vector<std::int64_t>{1, 2});
  }
  CHECK(file.integers("extremes") == std::vector<std::int64_t>{INT64_MIN, INT64_MAX});
  CHECK(file.integers("most") == std::vector<std::int64_t>{INT64_MAX});
  CHECK_THAT(error_of([&] { file.integers("too large"); }),
             contains("too large: 9223372036854775808; must fit a signed 64-bit integer"));
}

TEST_CASE("every number of 16 bits is read as IEEE 754 and bfloat16 define it") {
  for (const std::uint32_t type : {f16_type, bf16_type}) {
    const TensorData tensor = all_of_16_bits(type);
    check_exactly(through_file(tensor), decoded(tensor));
  }
}

TEST_CASE("a block of each quantised type has the elements of its definition") {
  // d = 0.5, m = -3 as halves; nibbles 0 to 15 in the low halves, 15 to 0 in the high ones.
  const std::string d = raw(std::uint16_t{0x3800}), m = raw(std::uint16_t{0xc200});
  std::string nibbles, all_bytes;
  for (int k = 0; k < 16; ++k) nibbles += static_cast<char>(k | (15 - k) << 4);
  for (int first = -128; first < 128; first += 32) {
    all_bytes += d;
    for (int k = first; k < first + 32; ++k) all_bytes += static_cast<char>(k);
  }
  const std::vector<float> q4_0 = through_file({q4_0_type, {32}, d + nibbles});
  const std::vector<float> q4_1 = through_file({q4_1_type, {32}, d + m + nibbles});
  const std::vector<float> q8_0 = through_file({q8_0_type, {256}, all_bytes});
  for (std::size_t k = 0; k < 16; ++k) {
    const auto low = static_cast<float>(k), high = 15 - low;
    CHECK(q4_0[k] == 0.5f * (low - 8));
    CHECK(q4_0[k + 16] == 0.5f * (high - 8));
    CHECK(q4_1[k] == 0.5f * low - 3);
    CHECK(q4_1[k + 16] == 0.5f * high - 3);
  }
  for (std::size_t k = 0; k < 256; ++k) CHECK(q8_0[k] == 0.5f * (static_cast<float>(k) - 128));
}

TEST_CASE("a block with fifth bits has the elements of its definition") {
  // d = 0.5, m = -3; nibbles 0 to 15 and 15 to 0; every third element has its fifth bit.
  const std::string d = raw(std::uint16_t{0x3800}), m = raw(std::uint16_t{0xc200});
  std::string nibbles;
  for (int k = 0; k < 16; ++k) nibbles += static_cast<char>(k | (15 - k) << 4);
  std::uint32_t fifth_bits = 0;
  for (unsigned k = 0; k < 32; k += 3) fifth_bits |= 1U << k;
  const std::vector<float> q5_0 = through_file({q5_0_type, {32}, d + raw(fifth_bits) + nibbles});
  const std::vector<float> q5_1 = through_file({q5_1_type, {32}, d + m + raw(fifth_bits) + nibbles});
  for (std::size_t k = 0; k < 32; ++k) {
    const float q = static_cast<float>(k < 16 ? k : 31 - k) + (k % 3 == 0 ? 16.0f : 0.0f);
    INFO("element " << k);
    CHECK(q5_0[k] == 0.5f * (q - 16));
    CHECK(q5_1[k] == 0.5f * q - 3);
  }
}

TEST_CASE("a block of 256 with scales and minima has the elements of its definition") {
  // d = 0.5 and dmin = 0.25; part p has scale 9 p and minimum 60 - 7 p, so that some need all of their six bits.
  const auto scale = [](int p) { return 9 * p; };
  const auto min = [](int p) { return 60 - 7 * p; };
  std::string head = raw(std::uint16_t{0x3800}) + raw(std::uint16_t{0x3400});
  for (int p = 0; p < 4; ++p) head += static_cast<char>(scale(p) | scale(p + 4) >> 4 << 6);
  for (int p = 0; p < 4; ++p) head += static_cast<char>(min(p) | min(p + 4) >> 4 << 6);
  for (int p = 4; p < 8; ++p) head += static_cast<char>((scale(p) & 15) | (min(p) & 15) << 4);
  // Element k of part p is (3 k + 5 p) % 16 or % 32.
  const auto q = [](int p, int k, int range) { return (3 * k + 5 * p) % range; };
  std::string lower, lower_of_five, fifth(32, '\0');
  for (int pair = 0; pair < 8; pair += 2) {
    for (int k = 0; k < 32; ++k) {
      lower += static_cast<char>(q(pair, k, 16) | q(pair + 1, k, 16) << 4);
      lower_of_five += static_cast<char>(q(pair, k, 32) % 16 | q(pair + 1, k, 32) % 16 << 4);
    }
  }
  for (int k = 0; k < 32; ++k) {
    int bits = 0;
    for (int p = 0; p < 8; ++p) bits |= q(p, k, 32) / 16 << p;
    fifth[static_cast<std::size_t>(k)] = static_cast<char>(bits);
  }
  const std::vector<float> q4_k = through_file({q4_k_type, {256}, head + lower});
  const std::vector<float> q5_k = through_file({q5_k_type, {256}, head + fifth + lower_of_five});
  for (int p = 0; p < 8; ++p) {
    for (int k = 0; k < 32; ++k) {
      const auto element = static_cast<std::size_t>(32 * p + k);
      const float half_scale = 0.5f * static_cast<float>(scale(p)), offset = 0.25f * static_cast<float>(min(p));
      CHECK(q4_k[element] == half_scale * static_cast<float>(q(p, k, 16)) - offset);
      CHECK(q5_k[element] == half_scale * static_cast<float>(q(p, k, 32)) - offset);
    }
  }
}

TEST_CASE("a block of Q6_K has the elements of its definition") {
  // d = 0.5, the scale of 16 elements s is 7 s - 50, element k is 5 k % 64.
  const auto q = [](int k) { return 5 * k % 64; };
  std::string lower, upper, scales;
  for (int first = 0; first < 256; first += 128) {
    for (int k = first; k < first + 64; ++k) lower += static_cast<char>(q(k) % 16 | q(k + 64) % 16 << 4);
    for (int k = first; k < first + 32; ++k) {
      upper += static_cast<char>(q(k) / 16 | q(k + 32) / 16 << 2 | q(k + 64) / 16 << 4 | q(k + 96) / 16 << 6);
    }
  }
  for (int s = 0; s < 16; ++s) scales += static_cast<char>(7 * s - 50);
  const std::vector<float> elements =
      through_file({q6_k_type, {256}, lower + upper + scales + raw(std::uint16_t{0x3800})});
  for (int k = 0; k < 256; ++k) {
    CHECK(elements[static_cast<std::size_t>(k)] == 0.5f * static_cast<float>((7 * (k / 16) - 50) * (q(k) - 32)));
  }
}

TEST_CASE("rows of a type in blocks of 256 must be multiples of that") {
  for (const std::uint32_t type : {q4_k_type, q5_k_type, q6_k_type}) {
    GgufContents contents;
    contents.tensors.push_back({"x", {type, {128, 2}, std::string(256, '\1')}});
    const TempFile written(contents.bytes());
    CHECK_THAT(error_of([&] { const GgufFile file(written.path()); }), contains("needs multiples of 256"));
  }
}

TEST_CASE("random tensors of each type are read exactly") {
  Random random(1);
  for (const std::uint32_t type : all_types) {
    const TensorData tensor =
        random_tensor(type, {2 * std::max<std::uint64_t>(32, block_size(type)), 3, 5}, 2.0, random);
    INFO("type " << type);
    check_exactly(through_file(tensor), decoded(tensor));
  }
}

TEST_CASE("rows of a tensor are those of the whole") {
  Random random(2);
  for (const std::uint32_t type : all_types) {
    GgufContents contents;
    const std::uint64_t columns = std::max<std::uint64_t>(32, block_size(type));
    contents.tensors.push_back({"x", random_tensor(type, {columns, 7}, 1.0, random)});
    const TempFile written(contents.bytes());
    const GgufFile file(written.path());
    std::vector<float> some(2 * columns);
    dca_lm::dequantize_rows(*file.find_tensor("x"), 3, some);
    const std::vector<double> all = decoded(contents.tensors[0].data);
    const auto at = [&](std::uint64_t row) { return all.begin() + static_cast<std::ptrdiff_t>(row * columns); };
    check_exactly(some, {at(3), at(5)});
  }
}
