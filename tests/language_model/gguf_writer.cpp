#include "gguf_writer.hpp"

#include <algorithm>
#include <stdexcept>

namespace dca_lm_test {
namespace {

std::uint64_t padding(std::uint64_t size, std::uint64_t alignment) {
  return (alignment - size % alignment) % alignment;
}

}  // namespace

std::string raw(const std::string& text) { return raw(std::uint64_t{text.size()}) + text; }

Value array_of(std::uint32_t type, std::uint64_t count, const std::string& elements) {
  return {array_type, raw(type) + raw(count) + elements};
}

void GgufContents::set(const std::string& key, Value content) {
  for (auto& [known, old] : values) {
    if (known == key) {
      old = std::move(content);
      return;
    }
  }
  values.emplace_back(key, std::move(content));
}

void GgufContents::erase(const std::string& key) {
  std::erase_if(values, [&](const auto& entry) { return entry.first == key; });
}

NamedTensor& GgufContents::tensor(const std::string& name) {
  for (NamedTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::out_of_range("no tensor " + name);
}

void GgufContents::erase_tensor(const std::string& name) {
  std::erase_if(tensors, [&](const NamedTensor& tensor) { return tensor.name == name; });
}

std::string GgufContents::head() const {
  std::string file =
      magic + raw(version) + raw(tensor_count.value_or(tensors.size())) + raw(value_count.value_or(values.size()));
  for (const auto& [key, content] : values) file += raw(key) + raw(content.type) + content.bytes;
  std::uint64_t place = 0;
  for (const NamedTensor& tensor : tensors) {
    place += padding(place, alignment);
    file += raw(tensor.name) + raw(static_cast<std::uint32_t>(tensor.data.shape.size()));
    for (const std::uint64_t size : tensor.data.shape) file += raw(size);
    file += raw(tensor.data.type) + raw(tensor.offset.value_or(place));
    place += tensor.data.bytes.size();
  }
  return file;
}

std::string GgufContents::bytes() const {
  std::string file = head();
  for (const NamedTensor& tensor : tensors) {
    file.append(padding(file.size(), alignment), '\0');
    file += tensor.data.bytes;
  }
  return file;
}

GgufContents small_contents() {
  GgufContents file;
  file.set("u8", value(std::uint8_t{200}));
  file.set("i8", value(std::int8_t{-100}));
  file.set("u16", value(std::uint16_t{60000}));
  file.set("i16", value(std::int16_t{-30000}));
  file.set("u32", value(std::uint32_t{4000000000U}));
  file.set("i32", value(std::int32_t{-2000000000}));
  file.set("f32", value(-0.15625f));
  file.set("yes", value(true));
  file.set("no", value(false));
  file.set("text", value("a text with \xe2\x82\xac"));
  file.set("empty", value(""));
  file.set("u64", value(std::uint64_t{18000000000000000000U}));
  file.set("i64", value(std::int64_t{-9000000000000000000}));
  file.set("f64", value(0.1));
  file.set("int32s", array<std::int32_t>({1, -2, 3}));
  file.set("floats", array<float>({1.5f, -2.5f}));
  file.set("texts", array<std::string>({"one", "", "three"}));
  file.set("nothing", array<std::int32_t>({}));
  file.set("nested", array_of(array_type, 2, array<std::uint8_t>({1, 2, 3}).bytes + array<std::string>({"x"}).bytes));
  file.tensors.push_back({"first", {f32_type, {4, 2}, std::string(32, '\1')}});
  file.tensors.push_back({"second", {f16_type, {5}, std::string(10, '\2')}});
  file.tensors.push_back({"third", {q8_0_type, {32, 2}, std::string(68, '\3')}});
  return file;
}

}  // namespace dca_lm_test
