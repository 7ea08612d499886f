// How the rows of a block become panels: integers, for compositions whose keys jump and whose queries choose.
#include <dca/kernel/choices.hpp>
#include <dca/kernel/panels.hpp>

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
  static constexpr bool selectable = true;
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

/// The first fault in the panels of a block of rows, or nothing.
template <class T>
std::string fault_of(const Strides& strides, QueryRows query, Index first, Index last, const BlockChoices& choices) {
  using Cutter = PanelCutter<T, Strides, FarPart, NearPart>;
  const Index capacity = Cutter::lane_capacity(last - first, choices.most_edges(query.tokens(last - first)));
  std::vector<Panel> panels(static_cast<std::size_t>(last - first));  // as many as there could ever be
  const auto edge_after = [&](Index position) { return choices.edge_after(0, position); };
  const Index count = Cutter::cut(
      strides, query, first, last, capacity, edge_after, [&](Index tokens) { return choices.most_edges(tokens); },
      panels.data());
  Index row = first, lane = 0;
  for (Index p = 0; p < count; ++p) {
    const Panel& panel = panels[static_cast<std::size_t>(p)];
    if (panel.first_row != row || panel.rows < 1 || panel.rows > panel_rows<T>) return "rows are not in order";
    if (panel.lane != lane || panel.vectors != ceil_div(panel.rows, packet_size<T>)) return "lanes are not in order";
    row += panel.rows;
    lane += panel.vectors * packet_size<T>;
    if (edge_after(query.position(panel.first_row)) <= query.position(row - 1)) return "a panel straddles an edge";
  }
  if (row != last) return "rows are left over";
  if (lane > capacity) return std::to_string(lane) + " lanes of " + std::to_string(capacity);
  if (count > Cutter::panel_capacity(capacity)) return "too many panels";
  return "";
}

/// The panels of blocks of rows of one sequence of `tokens` tokens, of which queries from `offset` on choose.
template <class T>
std::string fault_of(const Strides& strides, Index tokens, Index offset, Index group, Index queries, Index block_rows) {
  const auto runs = [&](Index) { return QueryRun{0, 0, tokens - offset, offset}; };
  const auto streamed = [](const QueryRun&) { return false; };
  BlockChoices choices(64, queries);
  choices.count<FarPart>(strides, 1, 1, runs, streamed);
  Arena counter;
  choices.take_tables(counter);
  std::vector<std::byte> memory(static_cast<std::size_t>(counter.used() + Arena::alignment));
  void* place = memory.data();
  std::size_t space = memory.size();
  Arena arena(static_cast<std::byte*>(std::align(Arena::alignment, memory.size() - Arena::alignment, place, space)));
  choices.take_tables(arena);
  choices.fill<FarPart>(strides, runs, streamed);
  const Index rows = (tokens - offset) * group;
  for (Index first = 0; first < rows; first += block_rows) {
    const std::string fault = fault_of<T>(strides, {offset, group}, first, std::min(first + block_rows, rows), choices);
    if (!fault.empty()) return fault;
  }
  return "";
}

}  // namespace

TEMPLATE_TEST_CASE("panels of any composition and selection fit the lanes that were counted for them", "", float,
                   double) {
  dca_test::Random random;
  constexpr Index packet = packet_size<TestType>;
  const auto to = [&](Index most) { return random.integer(1, most); };
  for (int k = 0; k < 3000; ++k) {
    const Strides strides{to(40 * packet), panel_rows<TestType> + to(8 * packet)};
    const Index tokens = to(12000), offset = random.integer(0, tokens - 1), group = to(k % 4 == 0 ? 9 : 1);
    const Index queries = to(k % 2 == 0 ? 2000 : 20 * packet), block_rows = to(8000);
    INFO("far " << strides.far << " near " << strides.near << " tokens " << tokens << " offset " << offset << " group "
                << group << " queries " << queries << " rows " << block_rows);
    REQUIRE(fault_of<TestType>(strides, tokens, offset, group, queries, block_rows) == "");
  }
}

TEMPLATE_TEST_CASE("jumps leave the edges after them their lanes", "", float, double) {
  // Jumps for most of the block, and edges at its end.
  constexpr Index packet = packet_size<TestType>, panel = panel_rows<TestType>;
  for (Index near = panel + 2; near < 6 * panel; ++near) {
    for (const Index far : {4000, 7000, 9000}) {
      INFO("near " << near << " far " << far);
      REQUIRE(fault_of<TestType>({far, near}, 10000 / packet * packet + 1, 0, 1, 1000, 10001) == "");
    }
  }
}
