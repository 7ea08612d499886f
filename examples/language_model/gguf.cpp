#include "gguf.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "gguf_reader.hpp"
#include "messages.hpp"

namespace dca_lm {
namespace {

[[noreturn]] void fail_type(std::string_view key, const char* wanted) {
  throw Error(printable(key) + ": wrong type; must be " + wanted);
}

std::int64_t read_integer(ByteReader& reader, ValueType type, std::string_view key) {
  switch (type) {
    case ValueType::uint8:
      return reader.read<std::uint8_t>();
    case ValueType::int8:
      return reader.read<std::int8_t>();
    case ValueType::uint16:
      return reader.read<std::uint16_t>();
    case ValueType::int16:
      return reader.read<std::int16_t>();
    case ValueType::uint32:
      return reader.read<std::uint32_t>();
    case ValueType::int32:
      return reader.read<std::int32_t>();
    case ValueType::int64:
      return reader.read<std::int64_t>();
    case ValueType::uint64: {
      const auto number = reader.read<std::uint64_t>();
      if (std::in_range<std::int64_t>(number)) return static_cast<std::int64_t>(number);
      throw Error(printable(key) + ": " + std::to_string(number) + "; must fit a signed 64-bit integer");
    }
    default:
      fail_type(key, "an array of integers");
  }
}

}  // namespace

TensorTypeTraits traits(TensorType type) {
  switch (type) {
    case TensorType::f32:
      return {"F32", 1, 4};
    case TensorType::f16:
      return {"F16", 1, 2};
    case TensorType::bf16:
      return {"BF16", 1, 2};
    case TensorType::q4_0:
      return {"Q4_0", 32, 18};
    case TensorType::q4_1:
      return {"Q4_1", 32, 20};
    case TensorType::q5_0:
      return {"Q5_0", 32, 22};
    case TensorType::q5_1:
      return {"Q5_1", 32, 24};
    case TensorType::q8_0:
      return {"Q8_0", 32, 34};
    case TensorType::q4_k:
      return {"Q4_K", 256, 144};
    case TensorType::q5_k:
      return {"Q5_K", 256, 176};
    case TensorType::q6_k:
      return {"Q6_K", 256, 210};
  }
  return {nullptr, 1, 1};
}

std::optional<std::uint64_t> natural_number(const GgufValue& value) {
  if (const auto* const natural = std::get_if<std::uint64_t>(&value)) return *natural;
  const auto* const whole = std::get_if<std::int64_t>(&value);
  if (whole != nullptr && *whole >= 0) return static_cast<std::uint64_t>(*whole);
  return std::nullopt;
}

std::uint64_t whole_number(std::string_view key, const GgufValue& value, std::uint64_t least, std::uint64_t most) {
  const std::optional<std::uint64_t> natural = natural_number(value);
  if (natural && *natural >= least && *natural <= most) return *natural;
  const auto* const whole = std::get_if<std::int64_t>(&value);
  if (!natural && whole == nullptr) fail_type(key, "an integer");
  throw Error(printable(key) + ": " + (natural ? std::to_string(*natural) : std::to_string(*whole)) +
              "; must be from " + std::to_string(least) + " to " + std::to_string(most));
}

GgufFile::GgufFile(const std::string& path) : file_(path) {
  naming(path, [&] {
    GgufTables tables = read_gguf_tables(file_.bytes());
    values_ = std::move(tables.values);
    tensors_ = std::move(tables.tensors);
    check_whole();
  });
}

void GgufFile::check_whole() const {
  constexpr std::uint64_t any = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t pieces = optional_integer("split.count", 0, any).value_or(0);
  if (pieces <= 1) return;
  const auto before = optional_integer("split.no", 0, pieces - 1);
  throw Error("split.count: " + std::to_string(pieces) + "; must be 0 or 1: the file is " +
              (before ? "piece " + std::to_string(*before + 1) : "one") + " of " + std::to_string(pieces) +
              ", to be joined to one file first (llama-gguf-split --merge)");
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const GgufValue& GgufFile::value(std::string_view key) const {
  const GgufValue* const found = find(key);
  if (found == nullptr) throw Error("the file has no " + printable(key));
  return *found;
}

std::uint64_t GgufFile::integer(std::string_view key, std::uint64_t least, std::uint64_t most) const {
  return whole_number(key, value(key), least, most);
}

std::optional<std::uint64_t> GgufFile::optional_integer(std::string_view key, std::uint64_t least,
                                                        std::uint64_t most) const {
  if (find(key) == nullptr) return std::nullopt;
  return integer(key, least, most);
}

bool GgufFile::boolean(std::string_view key) const {
  const GgufValue& given = value(key);
  if (const auto* const yes = std::get_if<bool>(&given)) return *yes;
  const std::optional<std::uint64_t> number = natural_number(given);
  if (!number || *number > 1) fail_type(key, "true or false, 1 or 0");
  return *number == 1;
}

double GgufFile::number(std::string_view key) const {
  const auto* const number = std::get_if<double>(&value(key));
  if (number == nullptr) fail_type(key, "a floating-point number");
  if (!std::isfinite(*number)) throw Error(printable(key) + ": " + std::to_string(*number) + "; must be finite");
  return *number;
}

std::string_view GgufFile::string(std::string_view key) const {
  const auto* const text = std::get_if<std::string_view>(&value(key));
  if (text == nullptr) fail_type(key, "a string");
  return *text;
}

std::vector<std::string_view> GgufFile::strings(std::string_view key) const {
  const auto* const array = std::get_if<GgufArray>(&value(key));
  if (array == nullptr || array->type != ValueType::string) fail_type(key, "an array of strings");
  ByteReader reader(array->bytes);
  std::vector<std::string_view> texts(static_cast<std::size_t>(array->count));
  for (std::string_view& text : texts) text = reader.read_string();
  return texts;
}

std::vector<std::int64_t> GgufFile::integers(std::string_view key) const {
  const auto* const array = std::get_if<GgufArray>(&value(key));
  if (array == nullptr) fail_type(key, "an array of integers");
  ByteReader reader(array->bytes);
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(array->count));
  for (std::int64_t& number : numbers) number = read_integer(reader, array->type, key);
  return numbers;
}

}  // namespace dca_lm
