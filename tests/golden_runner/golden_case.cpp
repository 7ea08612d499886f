#include "golden_runner/golden_case.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <stdexcept>

#include "support/npy.hpp"

namespace dca_test {
namespace {

using Setter = std::function<void(GoldenParameters&, const std::string&)>;

template <class Number>
Number parse(const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) throw std::runtime_error("bad number '" + text + "'");
  return value;
}

Setter integer(std::int64_t GoldenParameters::*field) {
  return [field](GoldenParameters& row, const std::string& text) { row.*field = parse<std::int64_t>(text); };
}

Setter real(double GoldenParameters::*field) {
  return [field](GoldenParameters& row, const std::string& text) {
    row.*field = parse<double>(text);
    if (!std::isfinite(row.*field)) throw std::runtime_error("bad number '" + text + "'");
  };
}

void set_name(GoldenParameters& row, const std::string& text) {
  const bool plain = !text.empty() && text.find_first_of("/\\") == std::string::npos && text != "." && text != "..";
  if (!plain) throw std::runtime_error("'" + text + "' is no folder name");
  row.name = text;
}

void set_style(GoldenParameters& row, const std::string& text) {
  if (text != "half" && text != "interleaved") {
    throw std::runtime_error("rope_style '" + text + "' is neither half nor interleaved");
  }
  row.interleaved = text == "interleaved";
}

const std::map<std::string, Setter>& columns() {
  using P = GoldenParameters;
  static const std::map<std::string, Setter> table = {
      {"name", set_name},
      {"batch", integer(&P::batch)},
      {"q_len", integer(&P::q_len)},
      {"kv_len", integer(&P::kv_len)},
      {"heads", integer(&P::heads)},
      {"kv_heads", integer(&P::kv_heads)},
      {"head_dim", integer(&P::head_dim)},
      {"v_head_dim", integer(&P::v_head_dim)},
      {"chunk_size", integer(&P::chunk_size)},
      {"local_window", integer(&P::local_window)},
      {"q_offset", integer(&P::q_offset)},
      {"rotary_dim", integer(&P::rotary_dim)},
      {"sinks", integer(&P::sinks)},
      {"seed", integer(&P::seed)},
      {"rope_theta", real(&P::rope_theta)},
      {"position_scale", real(&P::position_scale)},
      {"attention_factor", real(&P::attention_factor)},
      {"softmax_scale", real(&P::softmax_scale)},
      {"logit_softcap", real(&P::logit_softcap)},
      {"input_gain", real(&P::input_gain)},
      {"rope_style", set_style},
  };
  return table;
}

std::vector<std::string> split_line(std::string line) {
  if (!line.empty() && line.back() == '\r') line.pop_back();
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == ',') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

std::vector<std::string> checked_header(const std::string& line) {
  const std::vector<std::string> header = split_line(line);
  for (const std::string& column : header) {
    if (!columns().contains(column)) throw std::runtime_error("unknown column '" + column + "'");
    if (std::count(header.begin(), header.end(), column) > 1) throw std::runtime_error("column '" + column + "' twice");
  }
  for (const auto& entry : columns()) {
    if (std::find(header.begin(), header.end(), entry.first) == header.end()) {
      throw std::runtime_error("no column '" + entry.first + "'");
    }
  }
  return header;
}

GoldenParameters parse_row(const std::vector<std::string>& header, const std::string& line) {
  const std::vector<std::string> fields = split_line(line);
  if (fields.size() != header.size()) {
    throw std::runtime_error(std::to_string(fields.size()) + " fields, " + std::to_string(header.size()) + " columns");
  }
  GoldenParameters row;
  for (std::size_t k = 0; k < fields.size(); ++k) {
    try {
      columns().at(header[k])(row, fields[k]);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(header[k] + ": " + error.what());
    }
  }
  if (row.sinks != 0 && row.sinks != 1) throw std::runtime_error("sinks: must be 0 or 1");
  if (row.heads < 1 || row.kv_heads < 1 || row.heads % row.kv_heads != 0 || row.head_dim < 1 || row.v_head_dim < 1 ||
      row.rotary_dim < 0 || row.rotary_dim > row.head_dim || row.rotary_dim % 2 != 0 || row.batch < 0 || row.q_len < 0 ||
      row.q_offset < 0 || row.kv_len < 0 || row.position_scale <= 0) {
    throw std::runtime_error("sizes that no attention has");
  }
  return row;
}

}  // namespace

std::vector<GoldenParameters> read_golden_table(const std::string& folder) {
  const std::string path = folder + "/cases.csv";
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  std::vector<std::string> header;
  std::vector<GoldenParameters> rows;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line == "\r") continue;
    try {
      if (header.empty()) {
        header = checked_header(line);
      } else {
        rows.push_back(parse_row(header, line));
      }
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(path + ":" + std::to_string(number) + ": " + error.what());
    }
  }
  if (header.empty()) throw std::runtime_error(path + ": empty");
  return rows;
}

GoldenCase read_golden_case(const std::string& folder, const GoldenParameters& p) {
  const auto read = [&](const std::string& name, const Shape& shape) {
    const std::string path = folder + "/" + p.name + "/" + name + ".npy";
    Array array = read_npy(path);
    if (array.shape != shape) {
      throw std::runtime_error(path + ": shape " + describe(array.shape) + "; cases.csv says " + describe(shape));
    }
    return array;
  };
  return {.parameters = p,
          .query = read("q", {p.batch, p.q_len, p.heads, p.head_dim}),
          .key = read("k", {p.batch, p.kv_len, p.kv_heads, p.head_dim}),
          .value = read("v", {p.batch, p.kv_len, p.kv_heads, p.v_head_dim}),
          .out = read("out", {p.batch, p.q_len, p.heads, p.v_head_dim}),
          .lse = read("lse", {p.batch, p.q_len, p.heads}),
          .sinks = p.sinks == 1 ? read("sinks", {p.heads}) : Array()};
}

reference::Rope GoldenCase::rope() const {
  return {reference::inverse_frequencies(parameters.rotary_dim, parameters.rope_theta, parameters.position_scale),
          parameters.attention_factor, parameters.interleaved};
}

Magnitudes GoldenCase::magnitudes() const {
  double fastest = 0.0;
  for (const double frequency : rope().inv_freq) {
    if (frequency != 1.0) fastest = std::max(fastest, frequency);
  }
  // No rotary position exceeds chunk_size, or the last token of a shorter sequence.
  const auto position = static_cast<double>(std::min(parameters.chunk_size, parameters.kv_len));
  return {.largest_logit = reference::largest_logit(query, key, rope(), parameters.softmax_scale),
          .largest_angle = position * fastest};
}

}  // namespace dca_test
