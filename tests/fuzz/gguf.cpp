// Any bytes as a GGUF file: read, or refused with an Error; then what can be asked of it.
#include <cmath>

#include "chat_template.hpp"
#include "dequantize.hpp"
#include "error.hpp"
#include "fuzz/memory_file.hpp"
#include "gguf_reader.hpp"
#include "tokenizer.hpp"

namespace dca_fuzz {
namespace {

/// Whether `body` throws an Error, the only exception that a file may cause. It says something.
template <class Body>
bool fails(const Body& body) {
  try {
    body();
  } catch (const dca_lm::Error& error) {
    require(*error.what() != '\0', "an error that says nothing");
    return true;
  }
  return false;
}

/// All that a getter may be asked of a key.
void ask(const dca_lm::GgufFile& file, std::string_view key) {
  fails([&] { file.integer(key, 0, ~std::uint64_t{0}); });
  fails([&] { require(file.integer(key, 3, 100) <= 100, "an integer beyond its limits"); });
  fails([&] { require(std::isfinite(file.number(key)), "a number that is not finite"); });
  fails([&] { file.string(key); });
  fails([&] { file.strings(key); });
  fails([&] { file.integers(key); });
}

void check_file(const std::string& bytes, const dca_lm::GgufTables& tables) {
  const MemoryFile memory(bytes);
  const dca_lm::GgufFile file(memory.path());
  require(file.tensors().size() == tables.tensors.size(), "the file has other tensors than its tables");
  for (const auto& [key, value] : tables.values) ask(file, key);
  ask(file, "no such key");
  constexpr std::uint64_t most_elements = 1 << 16;
  for (const auto& [name, tensor] : file.tensors()) {
    require(file.find_tensor(name) == &tensor, "a tensor is not found by its name");
    const auto traits = dca_lm::traits(tensor.type);
    require(tensor.bytes.size() == tensor.columns / traits.block_size * traits.block_bytes * tensor.rows,
            "a tensor of another size");
    if (tensor.columns > most_elements) continue;
    const std::uint64_t rows = std::min(tensor.rows, most_elements / tensor.columns);
    std::vector<float> elements(static_cast<std::size_t>(rows * tensor.columns));
    dca_lm::dequantize_rows(tensor, tensor.rows - rows, elements);
  }
  fails([&] {
    const dca_lm::Tokenizer tokenizer(file);
    fails([&] { tokenizer.decode(tokenizer.encode("It's 12 o'clock,\n the end.")); });
    const dca_lm::ChatTemplate chat(file, tokenizer);
    chat.render("Hi");
    chat.prompt(tokenizer, "Hi");
  });
}

}  // namespace
}  // namespace dca_fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;  // an empty file is no file
  dca_lm::GgufTables tables;
  const auto bytes = std::as_bytes(std::span<const std::uint8_t>(data, size));
  if (dca_fuzz::fails([&] { tables = dca_lm::read_gguf_tables(bytes); })) return 0;
  dca_fuzz::check_file({reinterpret_cast<const char*>(data), size}, tables);
  return 0;
}
