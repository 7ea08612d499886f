// Cuts the query rows of a task into panels: runs of rows that are lanes of the same packets.
#pragma once

#include "dca/kernel/plan/choices.hpp"

namespace dca::detail {

/// Query rows are counted position by position, the heads of a group side by side, because they share their keys:
/// row = (position - first) * group + head in group.
struct RowPositions {
  Index first;  // position of row 0
  Index group;

  constexpr Index at(Index row) const { return first + row / group; }
  /// Most tokens that `count` neighbouring rows can belong to.
  constexpr Index tokens(Index count) const { return ceil_div(count, group) + 1; }
};

/// Elements of a packet, and of a full panel, which is whole packets.
struct LaneShape {
  Index packet;
  Index panel;
};

/// Rows [first_row, first_row + rows) on lanes [lane, lane + vectors * packet) of their task. `seen` spans the
/// keys that any of the rows sees through the current part, `common` those that all see.
struct Panel {
  Index first_row;
  Index rows;
  Index lane;
  int vectors;
  KeyRange seen;
  KeyRange common;
  const Choice* choice;  // of keys, which they share; null without a policy
};

/// Whether the first key of some part moves by more than b - a + tolerance from position a to b, as at a chunk edge. A
/// panel across such an edge is correct, but visits the keys of both sides for all its rows.
inline bool keys_jump(const Composition& composition, Index a, Index b, Index tolerance) {
  for (Index part = 0; part < composition.parts(); ++part) {
    const KeyRange from = composition.keys(part, a), to = composition.keys(part, b);
    if (!from.empty() && !to.empty() && to.first - from.first > tolerance + (b - a)) return true;
  }
  return false;
}

/// Cuts rows into panels of at most lanes.panel rows: always where choices of keys change,
/// and before a jump of the keys where lanes are left for it.
class PanelCutter {
 public:
  PanelCutter(const Composition& composition, const BlockChoices& choices, LaneShape lanes)
      : composition_(composition), choices_(choices), lanes_(lanes) {}

  /// Most lanes of a task of `rows` rows, `group` for each position: more than rows, because panels may not fill their
  /// last packet.
  Index lane_capacity(Index rows, Index group) const {
    return lanes_without_jumps(rows, group) + (rows > lanes_.panel ? 2 * lanes_.panel : 0);
  }
  Index panel_capacity(Index lanes) const { return lanes / lanes_.packet; }

  /// Writes the panels of rows [first, last) of a sequence, which take at most lane_capacity lanes, and returns their
  /// number.
  ///
  /// Why they fit: lane + lanes_without_jumps(rows left, edges left) <= capacity holds at the start and after each
  /// panel. A full panel takes whole packets, as many lanes as rows. One cut at an edge takes up to a packet more than
  /// its rows, and leaves one edge less. One cut at a jump takes as much but leaves as many edges: it is cut only if
  /// the rest, with the most edges that it can have, still fits.
  Index cut(Index sequence, RowPositions positions, Index first, Index last, Panel* panels) const {
    const Index capacity = lane_capacity(last - first, positions.group);
    Index count = 0, lane = 0;
    for (Index row = first; row < last;) {
      Index rows = std::min(lanes_.panel, last - row);
      const Index edge = choices_.edge_after(sequence, positions.at(row));
      if (edge <= positions.at(row + rows - 1)) rows = (edge - positions.first) * positions.group - row;
      if (const Index before_jump = rows_before_jump(positions, row, rows); before_jump < rows) {
        const Index rest = last - row - before_jump;
        const Index most_lanes = round_up(before_jump, lanes_.packet) + lanes_without_jumps(rest, positions.group);
        if (lane + most_lanes <= capacity) rows = before_jump;
      }
      const Index lanes = round_up(rows, lanes_.packet);
      panels[count++] = {row, rows, lane, static_cast<int>(lanes / lanes_.packet), {0, 0}, {0, 0}, nullptr};
      row += rows;
      lane += lanes;
    }
    return count;
  }

 private:
  /// Before each edge a packet may be partly empty.
  Index lanes_without_jumps(Index rows, Index group) const {
    const Index edges = choices_.most_edges(RowPositions{0, group}.tokens(rows));
    return round_up(rows, lanes_.packet) + edges * lanes_.packet;
  }

  Index rows_before_jump(RowPositions positions, Index row, Index rows) const {
    const Index first = positions.at(row), last = positions.at(row + rows - 1);
    if (!keys_jump(composition_, first, last, lanes_.panel)) return rows;
    for (Index position = first + 1; position <= last; ++position) {
      if (keys_jump(composition_, position - 1, position, lanes_.panel)) {
        return (position - positions.first) * positions.group - row;
      }
    }
    return rows;
  }

  const Composition& composition_;
  const BlockChoices& choices_;
  LaneShape lanes_;
};

}  // namespace dca::detail
