// How the rows of a block become panels: integers, for compositions whose keys jump and whose queries choose.
#include <dca/kernel/plan/panels.hpp>

#include <memory>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using dca::Index;
using dca::KeyRange;
using namespace dca::detail;

namespace {

/// Queries choose where `far` says, and jump where `near` does.
struct Strides {
  Index far;
  Index near;
};

struct FarPart {
  using Layout = Strides;
  static Index query_position(const Strides&, Index i) { return i; }
  static Index key_position(const Strides&, Index j) { return j; }
  static KeyRange keys(const Strides& s, Index i) { return {0, std::max<Index>(i - i % s.far - s.far, 0)}; }
};

struct NearPart {
  using Layout = Strides;
  static Index query_position(const Strides&, Index i) { return i; }
  static Index key_position(const Strides&, Index j) { return j; }
  static KeyRange keys(const Strides& s, Index i) { return {i - i % s.near, i + 1}; }
};

/// As wide as the vectors of any processor: scalars, SSE2, AVX and AVX-512.
constexpr LaneShape shapes[] = {{1, 3}, {2, 6}, {4, 12}, {8, 24}, {16, 48}};

/// The first fault in the panels of a task of rows, or nothing.
std::string fault_of(const PanelCutter& cutter, LaneShape lanes, RowPositions positions, Index first, Index last,
                     const BlockChoices& choices) {
  const Index capacity = cutter.lane_capacity(last - first, positions.group);
  std::vector<Panel> panels(static_cast<std::size_t>(last - first));  // as many as there could ever be
  const Index count = cutter.cut(0, positions, first, last, panels.data());
  Index row = first, lane = 0;
  for (Index p = 0; p < count; ++p) {
    const Panel& panel = panels[static_cast<std::size_t>(p)];
    if (panel.first_row != row || panel.rows < 1 || panel.rows > lanes.panel) return "rows are not in order";
    if (panel.lane != lane || panel.vectors != ceil_div(panel.rows, lanes.packet)) return "lanes are not in order";
    row += panel.rows;
    lane += panel.vectors * lanes.packet;
    if (choices.edge_after(0, positions.at(panel.first_row)) <= positions.at(row - 1)) {
      return "a panel straddles an edge";
    }
  }
  if (row != last) return "rows are left over";
  if (lane > capacity) return std::to_string(lane) + " lanes of " + std::to_string(capacity);
  if (count > cutter.panel_capacity(capacity)) return "too many panels";
  return "";
}

/// The panels of tasks of rows of one sequence of `tokens` tokens, of which queries from `offset` on choose.
std::string fault_of(LaneShape lanes, const Strides& strides, Index tokens, Index offset, Index group, Index queries,
                     Index task_rows) {
  const auto tokens_of = [&](Index) { return dca::detail::QueryTokens{0, 0, tokens - offset, offset}; };
  const Composition composition = composition_of<FarPart, NearPart>(strides);
  BlockChoices choices(0, 64, queries);
  choices.count(composition, 1, 1, group, tokens_of);
  Arena counter;
  choices.take_tables(counter);
  std::vector<std::byte> memory(static_cast<std::size_t>(counter.used() + Arena::alignment));
  void* place = memory.data();
  std::size_t space = memory.size();
  Arena arena(static_cast<std::byte*>(std::align(Arena::alignment, memory.size() - Arena::alignment, place, space)));
  choices.take_tables(arena);
  choices.fill(composition, tokens_of);
  const PanelCutter cutter(composition, choices, lanes);
  const Index rows = (tokens - offset) * group;
  for (Index first = 0; first < rows; first += task_rows) {
    const Index last = std::min(first + task_rows, rows);
    const std::string fault = fault_of(cutter, lanes, {offset, group}, first, last, choices);
    if (!fault.empty()) return fault;
  }
  return "";
}

}  // namespace

TEST_CASE("panels of any composition and selection fit the lanes that were counted for them") {
  dca_test::Random random;
  const auto to = [&](Index most) { return random.integer(1, most); };
  for (const LaneShape lanes : shapes) {
    for (int k = 0; k < 1500; ++k) {
      const Strides strides{to(40 * lanes.packet), lanes.panel + to(8 * lanes.packet)};
      const Index tokens = to(12000), offset = random.integer(0, tokens - 1), group = to(k % 4 == 0 ? 9 : 1);
      const Index queries = to(k % 2 == 0 ? 2000 : 20 * lanes.packet), task_rows = to(8000);
      INFO("packets of " << lanes.packet << " far " << strides.far << " near " << strides.near << " tokens " << tokens
                         << " offset " << offset << " group " << group << " queries " << queries << " rows "
                         << task_rows);
      REQUIRE(fault_of(lanes, strides, tokens, offset, group, queries, task_rows) == "");
    }
  }
}

TEST_CASE("jumps leave the edges after them their lanes") {
  // Jumps for most of the block, and edges at its end.
  for (const LaneShape lanes : shapes) {
    for (Index near = lanes.panel + 2; near < 6 * lanes.panel; ++near) {
      for (const Index far : {4000, 7000, 9000}) {
        INFO("packets of " << lanes.packet << " near " << near << " far " << far);
        REQUIRE(fault_of(lanes, {far, near}, 10000 / lanes.packet * lanes.packet + 1, 0, 1, 1000, 10001) == "");
      }
    }
  }
}
