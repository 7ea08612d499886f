#include "gguf_reader.hpp"

#include <algorithm>
#include <limits>

#include "messages.hpp"

namespace dca_lm {
namespace {

constexpr int max_array_depth = 4;
constexpr std::uint64_t max_alignment = std::uint64_t{1} << 20;

// Fewest bytes that a value of the type takes; 0 for an unknown type.
std::size_t least_bytes(ValueType type) {
  switch (type) {
    case ValueType::uint8:
    case ValueType::int8:
    case ValueType::boolean:
      return 1;
    case ValueType::uint16:
    case ValueType::int16:
      return 2;
    case ValueType::uint32:
    case ValueType::int32:
    case ValueType::float32:
      return 4;
    case ValueType::uint64:
    case ValueType::int64:
    case ValueType::float64:
    case ValueType::string:
      return 8;
    case ValueType::array:
      return 12;
  }
  return 0;
}

ValueType read_value_type(ByteReader& reader) {
  const auto type = static_cast<ValueType>(reader.read<std::uint32_t>());
  if (least_bytes(type) == 0) {
    throw Error("unknown type " + std::to_string(static_cast<std::uint32_t>(type)) + " of a metadata value");
  }
  return type;
}

GgufArray read_array(ByteReader& reader, std::span<const std::byte> bytes, int depth) {
  if (depth > max_array_depth) throw Error("metadata arrays are nested too deeply");
  const ValueType type = read_value_type(reader);
  const std::uint64_t count = reader.read_count("array elements", least_bytes(type));
  const std::size_t first = reader.position();
  if (type == ValueType::string) {
    for (std::uint64_t k = 0; k < count; ++k) reader.read_string();
  } else if (type == ValueType::array) {
    for (std::uint64_t k = 0; k < count; ++k) read_array(reader, bytes, depth + 1);
  } else {
    reader.take(count * least_bytes(type));
  }
  return {type, count, bytes.subspan(first, reader.position() - first)};
}

GgufValue read_value(ByteReader& reader, std::span<const std::byte> bytes) {
  switch (read_value_type(reader)) {
    case ValueType::uint8:
      return std::uint64_t{reader.read<std::uint8_t>()};
    case ValueType::int8:
      return std::int64_t{reader.read<std::int8_t>()};
    case ValueType::uint16:
      return std::uint64_t{reader.read<std::uint16_t>()};
    case ValueType::int16:
      return std::int64_t{reader.read<std::int16_t>()};
    case ValueType::uint32:
      return std::uint64_t{reader.read<std::uint32_t>()};
    case ValueType::int32:
      return std::int64_t{reader.read<std::int32_t>()};
    case ValueType::float32:
      return double{reader.read<float>()};
    case ValueType::boolean:
      return reader.read<std::uint8_t>() != 0;
    case ValueType::string:
      return reader.read_string();
    case ValueType::array:
      return read_array(reader, bytes, 1);
    case ValueType::uint64:
      return reader.read<std::uint64_t>();
    case ValueType::int64:
      return reader.read<std::int64_t>();
    case ValueType::float64:
      return reader.read<double>();
  }
  throw Error("unknown type of a metadata value");
}

std::uint64_t checked_product(std::string_view name, std::uint64_t a, std::uint64_t b) {
  if (b != 0 && a > std::numeric_limits<std::uint64_t>::max() / b) {
    throw Error("tensor " + printable(name) + ": its size overflows");
  }
  return a * b;
}

// Where a tensor lies, before it is known where the data begin.
struct Placed {
  std::string_view name;
  GgufTensor tensor;
  std::uint64_t offset;
  std::uint64_t size;
};

Placed read_tensor_info(ByteReader& reader) {
  Placed placed{reader.read_string(), {}, 0, 0};
  GgufTensor& tensor = placed.tensor;
  const std::string label = "tensor " + printable(placed.name);
  const auto rank = reader.read<std::uint32_t>();
  if (rank < 1 || rank > 4) throw Error(label + ": " + std::to_string(rank) + " dimensions; must be 1 to 4");
  tensor.rows = 1;
  for (std::uint32_t k = 0; k < rank; ++k) {
    tensor.shape.push_back(reader.read<std::uint64_t>());
    if (tensor.shape.back() == 0) throw Error(label + ": a dimension of size 0");
    if (k > 0) tensor.rows = checked_product(placed.name, tensor.rows, tensor.shape.back());
  }
  tensor.columns = tensor.shape.front();
  tensor.type = static_cast<TensorType>(reader.read<std::uint32_t>());
  const TensorTypeTraits type = traits(tensor.type);
  if (type.name == nullptr) {
    throw Error(label + ": type " + std::to_string(static_cast<std::uint32_t>(tensor.type)) +
                " is not read; must be F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K");
  }
  if (tensor.columns % type.block_size != 0) {
    throw Error(label + ": rows of " + std::to_string(tensor.columns) + " elements; " + type.name +
                " needs multiples of " + std::to_string(type.block_size));
  }
  const std::uint64_t row_bytes = checked_product(placed.name, tensor.columns / type.block_size, type.block_bytes);
  placed.size = checked_product(placed.name, row_bytes, tensor.rows);
  checked_product(placed.name, tensor.columns, tensor.rows);
  placed.offset = reader.read<std::uint64_t>();
  return placed;
}

std::uint64_t alignment_of(const GgufTables& tables) {
  const auto found = tables.values.find("general.alignment");
  if (found == tables.values.end()) return 32;
  const std::uint64_t alignment =
      whole_number("general.alignment", found->second, 0, std::numeric_limits<std::uint64_t>::max());
  if (alignment < 8 || alignment > max_alignment || (alignment & (alignment - 1)) != 0) {
    throw Error("general.alignment: " + std::to_string(alignment) + "; must be a power of two from 8 to " +
                std::to_string(max_alignment));
  }
  return alignment;
}

// Two tensors on the same bytes are a damaged table, and a way to make a small file ask for much memory.
void check_no_overlap(std::vector<Placed>& placed) {
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.offset < b.offset; });
  for (std::size_t k = 1; k < placed.size(); ++k) {
    if (placed[k].offset - placed[k - 1].offset < placed[k - 1].size) {
      throw Error("tensors " + printable(placed[k - 1].name) + " and " + printable(placed[k].name) + " overlap");
    }
  }
}

void place_tensors(std::vector<Placed> placed, std::span<const std::byte> data, std::uint64_t alignment,
                   GgufTables& tables) {
  for (Placed& entry : placed) {
    const std::string label = "tensor " + printable(entry.name);
    if (entry.offset % alignment != 0) {
      throw Error(label + ": offset " + std::to_string(entry.offset) + " is not a multiple of the alignment, " +
                  std::to_string(alignment));
    }
    if (entry.offset > data.size() || entry.size > data.size() - entry.offset) {
      throw Error(label + ": " + std::to_string(entry.size) + " bytes at offset " + std::to_string(entry.offset) +
                  " reach beyond the " + std::to_string(data.size()) + " bytes of data; the file is truncated");
    }
    entry.tensor.bytes = data.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.size));
  }
  check_no_overlap(placed);
  for (Placed& entry : placed) {
    if (!tables.tensors.emplace(entry.name, std::move(entry.tensor)).second) {
      throw Error("tensor " + printable(entry.name) + " stands twice in the file");
    }
  }
}

}  // namespace

GgufTables read_gguf_tables(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  if (reader.remaining() < 4 || reader.read<std::uint32_t>() != 0x46554747) throw Error("not a GGUF file");
  const auto version = reader.read<std::uint32_t>();
  if (version != 2 && version != 3) {
    throw Error(version != 0 && (version & 0xffff) == 0
                    ? "big-endian GGUF files are not read"
                    : "GGUF version " + std::to_string(version) + " is not read; must be 2 or 3");
  }
  const std::uint64_t tensor_count = reader.read_count("tensors", 32);  // name length, rank, one size, type, offset
  const std::uint64_t value_count = reader.read_count("metadata values", 13);  // key length, type, one byte

  GgufTables tables;
  for (std::uint64_t k = 0; k < value_count; ++k) {
    const std::string_view key = reader.read_string();
    if (!tables.values.emplace(key, read_value(reader, bytes)).second) {
      throw Error("key " + printable(key) + " stands twice in the file");
    }
  }
  std::vector<Placed> placed;
  placed.reserve(static_cast<std::size_t>(tensor_count));
  for (std::uint64_t k = 0; k < tensor_count; ++k) placed.push_back(read_tensor_info(reader));

  const std::uint64_t alignment = alignment_of(tables);
  const std::size_t padding = static_cast<std::size_t>((alignment - reader.position() % alignment) % alignment);
  const std::size_t data_start = reader.position() + std::min(padding, reader.remaining());
  place_tensors(std::move(placed), bytes.subspan(data_start), alignment, tables);
  return tables;
}

}  // namespace dca_lm
