// GGUF files: metadata and tensors, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "mapped_file.hpp"

namespace dca_lm {

/// Type ids of metadata values, as in the file.
enum class ValueType : std::uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64
};

/// An array of metadata, left where it lies: `count` elements of `type` in `bytes`.
struct GgufArray {
  ValueType type;
  std::uint64_t count;
  std::span<const std::byte> bytes;
};

/// A metadata value; integers widened to 64 bits, floats to double.
using GgufValue = std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, GgufArray>;

/// The whole number that a value is, whatever its integer type, where it is one and not negative.
std::optional<std::uint64_t> natural_number(const GgufValue& value);

/// The whole number in [least, most] that the value of `key` is, whatever its integer type. Throws Error.
std::uint64_t whole_number(std::string_view key, const GgufValue& value, std::uint64_t least, std::uint64_t most);

/// Type ids of tensors, as in the file; those that this program reads.
enum class TensorType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30
};

/// How a type is stored: `block_size` elements in `block_bytes` bytes.
struct TensorTypeTraits {
  const char* name;
  std::uint64_t block_size;
  std::uint64_t block_bytes;
};
TensorTypeTraits traits(TensorType type);

/// A tensor in the file. `columns` elements lie side by side, `rows` is the product of the other sizes.
struct GgufTensor {
  TensorType type;
  std::vector<std::uint64_t> shape;  // innermost size first, as in the file
  std::uint64_t columns;
  std::uint64_t rows;
  std::span<const std::byte> bytes;
};

/// A GGUF file, version 2 or 3, little-endian, mapped into memory. Names, strings and tensors are views into it.
///
/// Everything is checked when the file is opened: counts and lengths against the bytes left, types, offsets, alignment,
/// sizes and their products; tensors may not overlap, names may not repeat; the file may not be a piece of several. The
/// getters throw Error where a key is missing or has another type.
class GgufFile {
 public:
  /// Throws Error where the file cannot be read or is not what it says.
  explicit GgufFile(const std::string& path);

  /// The value of `key`, or nullptr.
  const GgufValue* find(std::string_view key) const;

  /// A whole number in [least, most], of any integer type.
  std::uint64_t integer(std::string_view key, std::uint64_t least, std::uint64_t most) const;
  /// A truth value; 0 or 1 of any integer type is one as well.
  bool boolean(std::string_view key) const;
  /// A finite number.
  double number(std::string_view key) const;
  std::string_view string(std::string_view key) const;
  std::vector<std::string_view> strings(std::string_view key) const;
  /// Whole numbers of any integer type that a signed 64-bit integer holds.
  std::vector<std::int64_t> integers(std::string_view key) const;

  /// As the above for keys that may be missing.
  std::optional<std::uint64_t> optional_integer(std::string_view key, std::uint64_t least, std::uint64_t most) const;

  const std::unordered_map<std::string_view, GgufValue>& values() const { return values_; }

  /// The tensor of that name, or nullptr.
  const GgufTensor* find_tensor(std::string_view name) const;
  const std::unordered_map<std::string_view, GgufTensor>& tensors() const { return tensors_; }

 private:
  const GgufValue& value(std::string_view key) const;
  void check_whole() const;

  MappedFile file_;
  std::unordered_map<std::string_view, GgufValue> values_;
  std::unordered_map<std::string_view, GgufTensor> tensors_;
};

}  // namespace dca_lm
