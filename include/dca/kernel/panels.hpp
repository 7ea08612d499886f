// Cuts the query rows of a block into panels: runs of rows that are lanes of the same packets.
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
  /// Most tokens that `count` neighbouring rows can belong to.
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
  const QueryGroup* group;  // whose choice of keys they share; null without a policy
};

/// Whether the first key of some part moves by more than b - a + tolerance from position a to b, as at a chunk edge. A
/// panel across such an edge is correct, but visits the keys of both sides for all its rows.
template <class Layout, class... Parts>
constexpr bool keys_jump(const Layout& layout, Index a, Index b, Index tolerance) {
  const auto moved = [&](KeyRange from, KeyRange to) {
    return !from.empty() && !to.empty() && to.first - from.first > tolerance + (b - a);
  };
  return (moved(Parts::keys(layout, a), Parts::keys(layout, b)) || ...);
}

/// Cuts rows into panels of at most panel_rows rows: always at edges of query groups, whose choices of keys differ, and
/// before a jump of the keys where lanes are left for it.
template <class T, class Layout, class... Parts>
class PanelCutter {
 public:
  /// Most lanes of a block of `rows` rows with at most `edges` edges: more than rows, because panels may not fill their
  /// last packet.
  static constexpr Index lane_capacity(Index rows, Index edges) {
    return lanes_without_jumps(rows, edges) + (rows > panel_rows<T> ? 2 * panel_rows<T> : 0);
  }
  static constexpr Index panel_capacity(Index lanes) { return lanes / packet_size<T>; }

  /// Writes the panels of rows [first, last), which take at most `capacity` lanes, and returns their number.
  /// `edge_after(position)` is the next edge; most_edges(tokens) bounds the edges among that many neighbouring tokens.
  ///
  /// Why they fit: lane + lanes_without_jumps(rows left, edges left) <= capacity holds at the start and after each
  /// panel. A full panel takes whole packets, as many lanes as rows. One cut at an edge takes up to a packet more than
  /// its rows, and leaves one edge less. One cut at a jump takes as much but leaves as many edges: it is cut only if
  /// the rest, with the most edges that it can have, still fits.
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
  /// Before each edge a packet may be partly empty.
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
