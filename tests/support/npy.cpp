#include "support/npy.hpp"

#include <bit>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string_view>

namespace dca_test {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are read as they lie in the file");

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw std::runtime_error(path + ": " + what);
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(path, "cannot be opened");
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) fail(path, "cannot be read");
  return bytes;
}

std::size_t little_endian(std::string_view bytes) {
  std::size_t value = 0;
  for (std::size_t k = bytes.size(); k-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[k]);
  return value;
}

// The Python dictionary of the header, and where the elements start.
struct Header {
  std::string_view dictionary;
  std::size_t data_start;
};

Header find_header(const std::string& path, std::string_view bytes) {
  constexpr std::string_view magic = "\x93NUMPY";
  if (bytes.size() < 8 || bytes.substr(0, magic.size()) != magic) fail(path, "is no .npy file: wrong magic");
  const int version = bytes[6];
  if (version < 1 || version > 3) fail(path, ".npy version " + std::to_string(version) + "; must be 1, 2 or 3");
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  if (bytes.size() < 8 + length_bytes) fail(path, "ends within its header");
  const std::size_t length = little_endian(bytes.substr(8, length_bytes));
  const std::size_t start = 8 + length_bytes;
  if (length > bytes.size() - start) fail(path, "ends within its header");
  return {bytes.substr(start, length), start + length};
}

// What follows "'key':" in the dictionary, without leading blanks.
std::string_view value_of(const std::string& path, std::string_view dictionary, const std::string& key) {
  const std::string quoted = "'" + key + "'";
  const std::size_t at = dictionary.find(quoted);
  if (at == std::string_view::npos) fail(path, "header without " + quoted);
  std::string_view rest = dictionary.substr(at + quoted.size());
  const std::size_t colon = rest.find_first_not_of(' ');
  if (colon == std::string_view::npos || rest[colon] != ':') fail(path, "malformed header after " + quoted);
  rest = rest.substr(colon + 1);
  const std::size_t value = rest.find_first_not_of(' ');
  if (value == std::string_view::npos) fail(path, "malformed header after " + quoted);
  return rest.substr(value);
}

Shape parse_shape(const std::string& path, std::string_view text) {
  const std::size_t close = text.find(')');
  if (text.front() != '(' || close == std::string_view::npos) fail(path, "malformed shape in header");
  text = text.substr(1, close - 1);
  Shape shape;
  std::size_t elements = 1;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    if (item.empty() && text.empty() && !shape.empty()) break;  // the comma of "(3,)"
    std::int64_t size = -1;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), size);
    if (error != std::errc() || end != item.data() + item.size() || size < 0) fail(path, "malformed shape in header");
    if (size > 0 && elements > std::numeric_limits<std::size_t>::max() / 16 / static_cast<std::size_t>(size)) {
      fail(path, "shape too large");
    }
    elements *= size > 0 ? static_cast<std::size_t>(size) : 1;
    shape.push_back(size);
  }
  return shape;
}

template <class T>
std::vector<double> elements_of(std::string_view bytes, std::size_t count) {
  std::vector<T> elements(count);
  if (count > 0) std::memcpy(elements.data(), bytes.data(), count * sizeof(T));
  return std::vector<double>(elements.begin(), elements.end());
}

}  // namespace

Array read_npy(const std::string& path) {
  const std::string bytes = read_bytes(path);
  const Header header = find_header(path, bytes);
  const std::string_view type = value_of(path, header.dictionary, "descr");
  const bool is_double = type.starts_with("'<f8'");
  if (!is_double && !type.starts_with("'<f4'")) {
    fail(path, "element type " + std::string(type.substr(0, type.find(','))) + "; must be '<f4' or '<f8'");
  }
  const std::string_view order = value_of(path, header.dictionary, "fortran_order");
  if (!order.starts_with("False")) fail(path, "Fortran order or malformed header; must be in C order");
  Shape shape = parse_shape(path, value_of(path, header.dictionary, "shape"));
  const std::size_t count = element_count(shape), size = is_double ? 8 : 4;
  const std::string_view data = std::string_view(bytes).substr(header.data_start);
  if (data.size() != count * size) {
    fail(path, std::to_string(data.size()) + " bytes of data; shape " + describe(shape) + " takes " +
                   std::to_string(count * size));
  }
  return Array(std::move(shape), is_double ? elements_of<double>(data, count) : elements_of<float>(data, count));
}

}  // namespace dca_test
