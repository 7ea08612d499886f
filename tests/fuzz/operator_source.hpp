// One call on the keys and values of a source: sequences of different lengths.
#pragma once

#include "fuzz/operator_dense.hpp"

namespace dca_fuzz {

/// A sequence of a call: its own numbers, [1, q_len or kv_len, ...].
struct Sequence {
  Sizes sizes;
  Numbers numbers;
};

/// Up to `most` sequences; all with as many queries as the first where `even`.
template <class E>
std::vector<Sequence> sequences_of(Bytes& bytes, const Case& c, Index most, bool even) {
  std::vector<Sequence> sequences;
  const Index count = bytes.one_in(16) ? 0 : bytes.integer(1, most);
  for (Index k = 0; k < count; ++k) {
    Sizes s = c.sizes;
    s.kv_len = length_of_tokens(bytes, 0, 1200);
    s.q_len = query_count(bytes, s);
    if (even && k > 0) {
      s.q_len = sequences.front().sizes.q_len;
      s.kv_len = std::max(s.kv_len, s.q_len);
    }
    Case own = c;
    own.seed += static_cast<std::uint64_t>(k) * 77;
    sequences.push_back({s, numbers_of<E>(bytes, own, s)});
  }
  return sequences;
}

/// The queries of all sequences: a batch of them, or one after the other.
inline Array joined_queries(const std::vector<Sequence>& sequences, const Sizes& s, bool ragged) {
  Index rows = 0;
  std::vector<double> data;
  for (const Sequence& sequence : sequences) {
    rows += sequence.sizes.q_len;
    data.insert(data.end(), sequence.numbers.query.data.begin(), sequence.numbers.query.data.end());
  }
  const auto count = static_cast<Index>(sequences.size());
  if (ragged) return {{1, rows, s.heads, s.head_dim}, data};
  return {{count, count > 0 ? rows / count : 3, s.heads, s.head_dim}, data};
}

/// Numbers of sequence k as a source holds them.
using StoredNumbers = std::function<Numbers(const Sequence& sequence, Index k)>;

/// Calls an operator of T on a source of all sequences, and checks the result; `positions` are the definition's for the
/// numbers that the source holds. integer_features: as of Magnitudes.
template <class T>
void check_source(Bytes& bytes, const Case& c, const std::vector<Sequence>& sequences, bool ragged,
                  const Call<T, T, T>& call, const StoredNumbers& stored, const reference::PositionMatrix& positions,
                  double integer_features = 0) {
  const Array queries = joined_queries(sequences, c.sizes, ragged);
  Sizes whole = c.sizes;
  whole.batch = queries.shape[0];
  whole.q_len = queries.shape[1];
  Strided<T> query(bytes, queries.shape);
  query.write(queries);
  Results<T, T> results(bytes, whole);
  std::vector<Index> starts{0};
  Index most_offset = std::numeric_limits<Index>::max() - 1;
  for (const Sequence& s : sequences) {
    starts.push_back(starts.back() + s.sizes.q_len);
    most_offset = std::min(most_offset, s.sizes.kv_len - s.sizes.q_len);
  }
  std::string lengths;
  for (const Sequence& s : sequences) {
    lengths += std::to_string(s.sizes.q_len) + "/" + std::to_string(s.sizes.kv_len) + " ";
  }
  trying(c.text() + (ragged ? " ragged " : " sequences ") + lengths);
  const std::vector<T> sinks(c.sinks.begin(), c.sinks.end());
  Arguments<T, T, T> arguments{std::as_const(query).view(),
                               {},
                               {},
                               results.out.view(),
                               {.lse = results.lse.view(), .sink_logits = sinks},
                               c.sizes.kv_heads,
                               most_offset,
                               std::ssize(sequences)};
  if (ragged) arguments.options.cu_seqlens = starts;
  const auto require_query_untouched = [&] { require(query.untouched(), "the query has changed"); };
  const bool refused = spoiled<T, T, T>(bytes, arguments, call, [&](const std::string& what) {
    require_query_untouched();
    results.require_untouched(what);
  });
  if (refused) return;
  call(arguments);
  require_query_untouched();
  results.require_gaps_untouched();
  const auto out = results.out.read(), lse = results.lse.read();
  const Index heads = c.sizes.heads, features = c.sizes.v_head_dim;
  for (std::size_t k = 0; k < sequences.size(); ++k) {
    const Numbers numbers = stored(sequences[k], static_cast<Index>(k));
    const Sizes& s = sequences[k].sizes;
    const auto expected = answer(c, numbers, s.kv_len - s.q_len, [&](Index, Index) { return positions; });
    const auto rows = [&](const std::vector<double>& all, Index width) {
      return std::vector<double>(all.begin() + starts[k] * heads * width, all.begin() + starts[k + 1] * heads * width);
    };
    dca_test::Magnitudes magnitudes = magnitudes_of(c, numbers, 1e4);
    magnitudes.integer_features = integer_features;
    check_result<T, T>(rows(out, features), rows(lse, 1), expected, magnitudes, c.value_gain);
  }
}

}  // namespace dca_fuzz
