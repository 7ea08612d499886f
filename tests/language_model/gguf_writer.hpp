// GGUF files as tests want them: right, or wrong in one place. Takes nothing from the reader, its type ids included.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tensor_data.hpp"

namespace dca_lm_test {

/// Bytes of a number, in little-endian order.
template <class T>
requires std::is_arithmetic_v<T> std::string raw(T number) {
  return {reinterpret_cast<const char*>(&number), sizeof(T)};
}

/// A string as GGUF writes it: 64-bit length, then bytes.
std::string raw(const std::string& text);

/// A metadata value: its type id and its bytes.
struct Value {
  std::uint32_t type;
  std::string bytes;
};

constexpr std::uint32_t string_type = 8, array_type = 9;

template <class T>
constexpr std::uint32_t type_id() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return 0;
  if constexpr (std::is_same_v<T, std::int8_t>) return 1;
  if constexpr (std::is_same_v<T, std::uint16_t>) return 2;
  if constexpr (std::is_same_v<T, std::int16_t>) return 3;
  if constexpr (std::is_same_v<T, std::uint32_t>) return 4;
  if constexpr (std::is_same_v<T, std::int32_t>) return 5;
  if constexpr (std::is_same_v<T, float>) return 6;
  if constexpr (std::is_same_v<T, bool>) return 7;
  if constexpr (std::is_same_v<T, std::string>) return string_type;
  if constexpr (std::is_same_v<T, std::uint64_t>) return 10;
  if constexpr (std::is_same_v<T, std::int64_t>) return 11;
  if constexpr (std::is_same_v<T, double>) return 12;
}

template <class T>
Value value(const T& content) {
  return {type_id<T>(), raw(content)};
}
inline Value value(const char* text) { return value(std::string(text)); }

/// An array that says it has `count` elements of type `type`.
Value array_of(std::uint32_t type, std::uint64_t count, const std::string& elements);

template <class T>
Value array(const std::vector<T>& elements) {
  std::string bytes;
  for (const T& element : elements) bytes += raw(element);
  return array_of(type_id<T>(), elements.size(), bytes);
}

struct NamedTensor {
  std::string name;
  TensorData data;
  std::optional<std::uint64_t> offset{};  // where the table says it lies; its place unless given
};

/// A file: the tables say what the lists hold unless told otherwise.
struct GgufContents {
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::vector<std::pair<std::string, Value>> values;
  std::vector<NamedTensor> tensors;
  std::optional<std::uint64_t> value_count{}, tensor_count{};

  /// Replaces the value of a key or appends it.
  void set(const std::string& key, Value content);
  /// Does nothing where there is no such key.
  void erase(const std::string& key);
  /// The tensor of that name; throws std::out_of_range.
  NamedTensor& tensor(const std::string& name);
  void erase_tensor(const std::string& name);

  /// Both tables, as far as the last offset.
  std::string head() const;
  /// The whole file. It ends with the last byte of the last tensor: no prefix of it has all.
  std::string bytes() const;
};

/// A small right file: a value of each type, arrays of numbers, strings and arrays, tensors of three types.
GgufContents small_contents();

}  // namespace dca_lm_test
