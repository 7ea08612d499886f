// How the query rows of a block become panels: runs of rows that are lanes of the same packets.
#pragma once

#include "dca/kernel/packet.hpp"
#include "dca/kernel/tiles.hpp"

namespace dca::detail {

/// Query rows are counted position by position, the heads of a group side by side, because they share their keys:
/// row = (position - q_offset) * group + head in group.
struct QueryRows {
  Index q_offset;
  Index group;

  constexpr Index position(Index row) const { return q_offset + row / group; }
  /// Most tokens that `count` neighbouring rows are of.
  constexpr Index tokens(Index count) const { return ceil_div(count, group) + 1; }
};

struct QueryGroup;

/// Rows [first_row, first_row + rows) on lanes [lane, lane + vectors * packet_size) of their block. `seen` spans the
/// keys that any of the rows sees through the current part, `common` those that all see.
struct Panel {
  Index first_row;
  Index rows;
  Index lane;
  int vectors;
  KeyRange seen;
  KeyRange common;
  const QueryGroup* group;  // whose choice they follow, where there is one
};

/// Whether some part moves its keys further from position a to position b than rows of a panel move by themselves, as
/// at a chunk edge. A panel that straddles such an edge is right, but visits the keys of both sides for all its rows.
template <class Layout, class... Parts>
constexpr bool keys_jump(const Layout& layout, Index a, Index b, Index tolerance) {
  const auto moved = [&](KeyRange from, KeyRange to) {
    return !from.empty() && !to.empty() && to.first - from.first > tolerance + (b - a);
  };
  return (moved(Parts::keys(layout, a), Parts::keys(layout, b)) || ...);
}

/// Cuts rows into panels of at most panel_rows: at edges of groups of queries that choose for themselves, and shorter
/// before a jump of the keys where the lanes allow it.
template <class T, class Layout, class... Parts>
class PanelCutter {
 public:
  /// Lanes that a block of `rows` rows with at most `edges` edges may take: some more than rows, for panels that end
  /// before their last packet does.
  static constexpr Index lane_capacity(Index rows, Index edges) {
    return lanes_without_jumps(rows, edges) + (rows > panel_rows<T> ? 2 * panel_rows<T> : 0);
  }
  static constexpr Index panel_capacity(Index lanes) { return lanes / packet_size<T>; }

  /// Writes the panels of rows [first, last) and returns their number, at most panel_capacity of the lanes that they
  /// may take, `capacity`. `edge_after(position)` is the next edge, most_edges(tokens) a bound of the edges among so
  /// many neighbouring tokens.
  ///
  /// They fit: lane + lanes_without_jumps(rows left, edges left) never exceeds capacity. It does not at the start. A
  /// full panel takes whole packets, and leaves as much less to do. One cut at an edge takes up to a packet more than
  /// its rows, and leaves an edge less. One cut at a jump takes as much, and no edge with it: only where the rest, with
  /// as many edges as there can be, still has room.
  template <class EdgeAfter, class MostEdges>
  static Index cut(const Layout& layout, QueryRows query, Index first, Index last, Index capacity,
                   const EdgeAfter& edge_after, const MostEdges& most_edges, Panel* panels) {
    Index count = 0, lane = 0;
    for (Index row = first; row < last;) {
      Index rows = std::min(panel_rows<T>, last - row);
      const Index edge = edge_after(query.position(row));
      if (edge <= query.position(row + rows - 1)) rows = (edge - query.q_offset) * query.group - row;
      if (const Index before_jump = rows_before_jump(layout, query, row, rows); before_jump < rows) {
        const Index rest = last - row - before_jump;
        const Index most_lanes =
            round_up(before_jump, packet_size<T>) + lanes_without_jumps(rest, most_edges(query.tokens(rest)));
        if (lane + most_lanes <= capacity) rows = before_jump;
      }
      const Index lanes = round_up(rows, packet_size<T>);
      panels[count++] = {row, rows, lane, static_cast<int>(lanes / packet_size<T>), {0, 0}, {0, 0}, nullptr};
      row += rows;
      lane += lanes;
    }
    return count;
  }

 private:
  /// Each edge may leave the packet before it unfinished.
  static constexpr Index lanes_without_jumps(Index rows, Index edges) {
    return round_up(rows, packet_size<T>) + edges * packet_size<T>;
  }

  static Index rows_before_jump(const Layout& layout, QueryRows query, Index row, Index rows) {
    const Index first = query.position(row), last = query.position(row + rows - 1);
    if (!keys_jump<Layout, Parts...>(layout, first, last, panel_rows<T>)) return rows;
    for (Index position = first + 1; position <= last; ++position) {
      if (keys_jump<Layout, Parts...>(layout, position - 1, position, panel_rows<T>)) {
        return (position - query.q_offset) * query.group - row;
      }
    }
    return rows;
  }
};

}  // namespace dca::detail
