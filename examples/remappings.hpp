// Two other published remappings as parts: StreamingLLM and Self-Extend.
#pragma once

#include <dca/dca.hpp>

namespace remappings {

using dca::Index;

/// StreamingLLM (Xiao et al. 2024, arXiv:2309.17453): the first `first` tokens and the `recent` newest ones, the first
/// as if they stood right before the newest.
struct Streaming {
  Index first, recent;
};

struct FirstTokens {
  using Layout = Streaming;
  static constexpr Index query_position(const Streaming& s, Index i) { return std::min(i, s.first + s.recent - 1); }
  static constexpr Index key_position(const Streaming&, Index j) { return j; }
  static constexpr dca::KeyRange keys(const Streaming& s, Index i) {
    return {0, std::clamp<Index>(i + 1 - s.recent, 0, s.first)};
  }
};

struct RecentTokens {
  using Layout = Streaming;
  static constexpr Index query_position(const Streaming&, Index i) { return i; }
  static constexpr Index key_position(const Streaming&, Index j) { return j; }
  static constexpr dca::KeyRange keys(const Streaming& s, Index i) {
    return {std::max<Index>(0, i + 1 - s.recent), i + 1};
  }
};

/// Self-Extend (Jin et al. 2024, arXiv:2401.01325): true distances to the `window` newest tokens; beyond them positions
/// of groups of `group` tokens, shifted so that the distances meet at the window's edge.
struct SelfExtend {
  Index window, group;
};

struct Neighbours {
  using Layout = SelfExtend;
  static constexpr Index query_position(const SelfExtend&, Index i) { return i; }
  static constexpr Index key_position(const SelfExtend&, Index j) { return j; }
  static constexpr dca::KeyRange keys(const SelfExtend& s, Index i) {
    return {std::max<Index>(0, i + 1 - s.window), i + 1};
  }
};

struct Grouped {
  using Layout = SelfExtend;
  static constexpr Index query_position(const SelfExtend& s, Index i) {
    return i / s.group + s.window - s.window / s.group;
  }
  static constexpr Index key_position(const SelfExtend& s, Index j) { return j / s.group; }
  static constexpr dca::KeyRange keys(const SelfExtend& s, Index i) {
    return {0, std::max<Index>(0, i + 1 - s.window)};
  }
};

}  // namespace remappings
