// Two other published remappings as parts: StreamingLLM and Self-Extend.
#pragma once

#include <dca/dca.hpp>

namespace remappings {

using dca::Index;

/// The numbers of StreamingLLM (Xiao et al. 2024, arXiv:2309.17453): the first `sinks` tokens and the `window` most
/// recent ones, the query among them, are seen.
struct StreamingLayout {
  Index sinks, window;
  friend constexpr bool operator==(const StreamingLayout&, const StreamingLayout&) = default;
};

/// Positions count within what is seen: the sinks stand right before the recent tokens. Keys keep their absolute
/// positions, and it is the query that looks at the sinks from nearer.
struct StreamingPlacement {
  using Layout = StreamingLayout;
  static constexpr Index position(const Layout&, Index j) { return j; }
};

struct SinkTokens {
  using Layout = StreamingLayout;
  using KeyPlacement = StreamingPlacement;

  static constexpr Index query_position(const Layout& s, Index i) { return std::min(i, s.sinks + s.window - 1); }
  static constexpr Index key_position(const Layout& s, Index j) { return KeyPlacement::position(s, j); }
  static constexpr dca::KeyRange keys(const Layout& s, Index i) {
    return {0, std::min(s.sinks, std::max<Index>(0, i - s.window + 1))};
  }
};

struct RecentTokens {
  using Layout = StreamingLayout;
  using KeyPlacement = StreamingPlacement;

  static constexpr Index query_position(const Layout&, Index i) { return i; }
  static constexpr Index key_position(const Layout& s, Index j) { return KeyPlacement::position(s, j); }
  static constexpr dca::KeyRange keys(const Layout& s, Index i) {
    return {std::max<Index>(0, i - s.window + 1), i + 1};
  }
};

/// The numbers of Self-Extend (Jin et al. 2024, arXiv:2401.01325): the `window` most recent tokens, the query among
/// them, are seen at their true distances, all others in groups of `group` tokens that share a position.
struct SelfExtendLayout {
  Index window, group;
  friend constexpr bool operator==(const SelfExtendLayout&, const SelfExtendLayout&) = default;
};

struct NeighbourTokens {
  using Layout = SelfExtendLayout;

  static constexpr Index query_position(const Layout&, Index i) { return i; }
  static constexpr Index key_position(const Layout&, Index j) { return j; }
  static constexpr dca::KeyRange keys(const Layout& s, Index i) {
    return {std::max<Index>(0, i - s.window + 1), i + 1};
  }
};

/// The shift of the query makes the distances meet at the window's edge. Keys stand elsewhere than for the neighbours:
/// a cache holds them unrotated.
struct GroupedTokens {
  using Layout = SelfExtendLayout;

  static constexpr Index query_position(const Layout& s, Index i) {
    return i / s.group + s.window - s.window / s.group;
  }
  static constexpr Index key_position(const Layout& s, Index j) { return j / s.group; }
  static constexpr dca::KeyRange keys(const Layout& s, Index i) { return {0, std::max<Index>(0, i - s.window + 1)}; }
};

}  // namespace remappings
