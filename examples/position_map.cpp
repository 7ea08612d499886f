// Which relative position does each query see each key at? Draws the answer for Dual Chunk Attention, plain RoPE and
// two other remappings, in the terminal and as an SVG picture.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "program/result_file.hpp"
#include "program/run_main.hpp"
#include "remappings.hpp"

using dca::Index;

/// Relative positions query_position - key_position by [query][key]; nothing where the query does not see the key.
using PositionMap = std::vector<std::vector<std::optional<Index>>>;

/// The map of a composition: all that is asked of its parts is where they look, as whom.
template <dca::ChunkPart... Parts, class Layout>
PositionMap map_of(const Layout& layout, Index length) {
  const auto size = static_cast<std::size_t>(length);
  PositionMap map(size, std::vector<std::optional<Index>>(size));
  const auto draw = [&]<class Part>(Part) {
    for (Index i = 0; i < length; ++i) {
      const dca::KeyRange keys = Part::keys(layout, i);
      for (Index j = keys.first; j < keys.last; ++j) {
        map[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] =
            Part::query_position(layout, i) - Part::key_position(layout, j);
      }
    }
  };
  (draw(Parts{}), ...);
  return map;
}

struct Settings {
  Index chunk_size = 12, local_window = 4, length = 32;
  std::string composition = "dca", cells = "auto", picture{};
};

/// All but plain RoPE stay within relative positions of chunk_size, as if a model had been trained on no more.
PositionMap map_of(const Settings& s) {
  if (s.composition == "rope") return map_of<dca::WholeSequence>(dca::Unchunked{}, s.length);
  const dca::ChunkLayout chunks(dca::ChunkConfig{.chunk_size = s.chunk_size, .local_window = s.local_window});
  if (s.composition == "dca") {
    return map_of<dca::InterChunk, dca::SuccessiveChunk, dca::IntraChunk>(chunks, s.length);
  }
  using namespace remappings;
  if (s.composition == "streaming") {
    const StreamingLayout streaming{.sinks = s.local_window, .window = s.chunk_size + 1 - s.local_window};
    return map_of<SinkTokens, RecentTokens>(streaming, s.length);
  }
  SelfExtendLayout self_extend{.window = s.local_window + 1, .group = 1};
  const auto farthest = [&] { return GroupedTokens::query_position(self_extend, s.length - 1); };
  while (farthest() > s.chunk_size) ++self_extend.group;
  return map_of<GroupedTokens, NeighbourTokens>(self_extend, s.length);
}

Index largest(const PositionMap& map) {
  Index most = 0;
  for (const auto& row : map) {
    for (const std::optional<Index>& position : row) most = std::max(most, position.value_or(0));
  }
  return most;
}

struct Colour {
  int red, green, blue;
};

/// From near, warm, to far, dark blue.
Colour colour_of(Index position, Index most) {
  constexpr Colour stops[] = {{252, 217, 125}, {244, 140, 92}, {203, 71, 120}, {126, 42, 147}, {48, 38, 110}};
  constexpr int last = static_cast<int>(std::size(stops)) - 1;
  const double at = most == 0 ? 0.0 : static_cast<double>(position) / static_cast<double>(most) * last;
  const int below = std::min(static_cast<int>(at), last - 1);
  const auto mix = [&](int a, int b) { return static_cast<int>(a + (at - below) * (b - a) + 0.5); };
  const Colour a = stops[below], b = stops[below + 1];
  return {mix(a.red, b.red), mix(a.green, b.green), mix(a.blue, b.blue)};
}

bool is_dark(Colour c) { return 2 * c.red + 5 * c.green + c.blue < 8 * 120; }

/// A row a query, a column a key: numbers, or shades that are the fuller the nearer. Coloured on a terminal.
void print(const PositionMap& map, bool numbers, bool colours) {
  const Index most = largest(map);
  const int width = numbers ? static_cast<int>(std::to_string(most).size()) + 1 : 1;
  for (const auto& row : map) {
    for (const std::optional<Index>& position : row) {
      if (!position) {
        std::cout << std::setw(width) << (numbers ? "." : " ");
        continue;
      }
      const Colour c = colour_of(*position, most);
      if (colours) {
        std::cout << "\x1b[48;2;" << c.red << ';' << c.green << ';' << c.blue << 'm'
                  << (is_dark(c) ? "\x1b[97m" : "\x1b[30m");
      }
      constexpr const char* shades[] = {"█", "▓", "▒", "░"};
      if (numbers) {
        std::cout << std::setw(width) << *position;
      } else {
        std::cout << (colours ? " " : shades[*position * 4 / (most + 1)]);
      }
      if (colours) std::cout << "\x1b[0m";
    }
    std::cout << '\n';
  }
}

/// The same as a picture, with the largest relative position beside it.
void draw(const PositionMap& map, const std::string& title, std::ostream& svg) {
  const Index most = largest(map), cell = std::max<Index>(2, 512 / static_cast<Index>(map.size()));
  const Index side = cell * static_cast<Index>(map.size());
  const auto rectangle = [&](Index x, Index y, Index width, Index height, Index position) {
    const Colour c = colour_of(position, most);
    svg << "<rect x='" << x << "' y='" << y << "' width='" << width << "' height='" << height << "' fill='rgb(" << c.red
        << ',' << c.green << ',' << c.blue << ")'/>\n";
  };
  svg << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='-40 -40 " << side + 130 << ' ' << side + 80
      << "' font-family='sans-serif' font-size='14'>\n"
      << "<style>:root{color-scheme:light dark} text{fill:#24292f} "
         "@media(prefers-color-scheme:dark){text{fill:#e6edf3}}</style>\n"
      << "<text x='0' y='-14' font-size='17'>" << title << "</text>\n<text x='0' y='" << side + 24 << "'>keys</text>\n"
      << "<text transform='translate(-12," << side << ") rotate(-90)'>queries</text>\n";
  for (std::size_t i = 0; i < map.size(); ++i) {
    for (std::size_t j = 0; j < map.size(); ++j) {
      if (!map[i][j]) continue;
      rectangle(static_cast<Index>(j) * cell, static_cast<Index>(i) * cell, cell - cell / 12, cell - cell / 12,
                *map[i][j]);
    }
  }
  constexpr Index steps = 64;
  for (Index step = 0; step <= steps; ++step) {
    rectangle(side + 20, side - (step + 1) * side / (steps + 1), 14, side / steps + 1, most * step / steps);
  }
  svg << "<text x='" << side + 42 << "' y='" << side << "'>0</text>\n<text x='" << side + 42 << "' y='12'>" << most
      << "</text>\n</svg>\n";
}

void add_options(CLI::App& app, Settings& s) {
  constexpr Index most_chunk = Index{1} << 24;
  app.add_option("--composition", s.composition)
      ->check(CLI::IsMember({"dca", "rope", "streaming", "self-extend"}))
      ->capture_default_str();
  app.add_option("--chunk-size", s.chunk_size, "Largest relative position (all but rope)")
      ->check(CLI::Range(Index{1}, most_chunk))
      ->capture_default_str();
  app.add_option("--local-window", s.local_window,
                 "Tokens at exact distances over an edge (dca, self-extend); first "
                 "tokens kept (streaming)")
      ->check(CLI::Range(Index{0}, most_chunk))
      ->capture_default_str();
  app.add_option("--length", s.length, "Tokens")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--cells", s.cells, "auto: numbers up to 40 tokens")
      ->check(CLI::IsMember({"auto", "numbers", "shades"}))
      ->capture_default_str();
  app.add_option("--picture", s.picture, "Write an SVG picture there")->check(program::file_name());
}

void run(const Settings& s) {
  const program::ResultFile picture("--picture", s.picture);
  const PositionMap map = map_of(s);
  print(map, s.cells == "numbers" || (s.cells == "auto" && s.length <= 40), isatty(STDOUT_FILENO) != 0);
  const std::string title = s.composition + ": " + std::to_string(s.length) + " tokens, relative positions up to " +
                            std::to_string(largest(map));
  std::cout << title << '\n';
  if (!picture.wanted()) return;
  std::ostringstream svg;
  draw(map, title, svg);
  picture.write(svg.str());
}

int main(int argc, char** argv) {
  return program::run_main("dca_position_map", [&] {
    CLI::App app("Draws the relative position at which each query (row) sees each key (column).");
    Settings settings;
    add_options(app, settings);
    return program::parse_and_run(app, argc, argv, [&] {
      run(settings);
      return 0;
    });
  });
}
