// Parts of tensor views: the right elements, and nothing beyond the view.
#include <dca/tensor/tensor_view.hpp>
#include <vector>

#include "support/catch.hpp"

using dca::Extents;
using dca::Index;
using dca::TensorView;
using dca_test::contains;

namespace {

using Numbers = std::vector<Index>;

/// 0, 1, 2, ... as elements of [3, 4, 2].
struct Problem {
  Numbers memory = Numbers(24);
  TensorView<Index> view = dca::contiguous(memory.data(), {3, 4, 2});
  Problem() {
    for (std::size_t k = 0; k < memory.size(); ++k) memory[k] = static_cast<Index>(k);
  }
};

/// All elements of a view, last index fastest.
Numbers elements(const TensorView<const Index>& view) {
  Numbers all{0};  // offsets, then elements
  for (int k = 0; k < view.shape.rank(); ++k) {
    Numbers more;
    for (const Index offset : all) {
      for (Index i = 0; i < view.shape[k]; ++i) more.push_back(offset + i * view.strides[k]);
    }
    all = more;
  }
  for (Index& x : all) x = view.data[x];
  return all;
}

}  // namespace

TEST_CASE("a slice is some entries of one dimension, and all of the others") {
  const Problem x;
  CHECK(elements(x.view.slice(0, 1, 2)) == Numbers{8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23});
  CHECK(elements(x.view.slice(1, 2, 1)) == Numbers{4, 5, 12, 13, 20, 21});
  CHECK(elements(x.view.slice(2, 1, 1).slice(0, 0, 1)) == Numbers{1, 3, 5, 7});
  CHECK(elements(x.view.slice(1, 1, 3).slice(1, 1, 1)) == elements(x.view.slice(1, 2, 1)));
  const auto all = x.view.slice(1, 0, 4);
  CHECK((all.data == x.view.data && all.shape == x.view.shape && all.strides == x.view.strides));
  CHECK(x.view.slice(1, 1, 2).shape == Extents{3, 2, 2});
}

TEST_CASE("an entry is one of the outermost dimension, without it") {
  const Problem x;
  CHECK(elements(x.view.entry(1)) == Numbers{8, 9, 10, 11, 12, 13, 14, 15});
  CHECK(x.view.entry(2).shape == Extents{4, 2});
  CHECK(x.view.entry(2).strides == Extents{2, 1});
  const auto element = x.view.entry(2).entry(3).entry(1);
  CHECK((*element.data == 23 && element.shape.rank() == 0 && element.strides.rank() == 0));
}

TEST_CASE("parts follow strides of any order and sign, and may be written") {
  Problem x;
  // The same memory with its last two dimensions exchanged, and the first from behind.
  const TensorView<Index> turned{x.memory.data() + 16, {3, 2, 4}, {-8, 1, 2}};
  CHECK(elements(turned.entry(0).slice(1, 1, 2)) == Numbers{18, 20, 19, 21});
  CHECK(elements(turned.slice(0, 1, 2).slice(1, 0, 1)) == Numbers{8, 10, 12, 14, 0, 2, 4, 6});
  x.view.entry(1).slice(0, 3, 1).data[1] = -5;
  CHECK(x.memory[15] == -5);
}

TEST_CASE("empty parts point to no entry beyond the view") {
  const Problem x;
  for (const Index first : {0, 2, 3}) {
    const auto none = x.view.slice(0, first, 0);
    CHECK((none.data == x.view.data && none.shape == Extents{0, 4, 2}));
  }
  const TensorView<Index> nothing{nullptr, {0, 4, 2}, {8, 2, 1}};
  CHECK(nothing.slice(0, 0, 0).data == nullptr);
  CHECK(nothing.slice(1, 3, 1).data == nullptr);  // entries of a length of a batch of none
}

TEST_CASE("parts that are not there are refused by name and value") {
  const Problem x;
  const auto check = [&](const auto& part, const char* message) {
    CHECK_THROWS_AS(part(x.view), std::invalid_argument);
    CHECK_THROWS_WITH(part(x.view), contains(message));
  };
  constexpr Index most = std::numeric_limits<Index>::max(), least = std::numeric_limits<Index>::min();
  check([](const auto& v) { v.slice(3, 0, 1); }, "dca: dimension: 3; must be at least 0 and less than the rank, 3");
  check([](const auto& v) { v.slice(-1, 0, 1); }, "dca: dimension: -1;");
  check([](const auto& v) { v.slice(1, 3, 2); }, "dca: slice: 2 entries from 3; must lie within shape[1], 4");
  check([](const auto& v) { v.slice(1, 5, 0); }, "dca: slice: 0 entries from 5;");
  check([](const auto& v) { v.slice(0, -1, 1); }, "dca: slice: 1 entries from -1;");
  check([](const auto& v) { v.slice(0, 1, -1); }, "dca: slice: -1 entries from 1;");
  check([](const auto& v) { v.slice(0, 2, most); }, "dca: slice: 9223372036854775807 entries from 2;");
  check([](const auto& v) { v.slice(0, least, most); }, "dca: slice: 9223372036854775807 entries from -922337");
  check([](const auto& v) { v.entry(3); }, "dca: entry: 3; must be at least 0 and less than shape[0], 3");
  check([](const auto& v) { v.entry(-1); }, "dca: entry: -1;");
  check([](const auto& v) { v.slice(0, 0, 0).entry(0); },
        "dca: entry: 0; must be at least 0 and less than shape[0], 0");
  check([](const auto&) { TensorView<Index>{}.entry(0); }, "dca: entry: 0;");
  check([](const auto&) { TensorView<Index>{}.slice(0, 0, 0); }, "dca: dimension: 0; must be at least 0 and less than");
}

TEST_CASE("strides that lead out of what can be addressed are refused where they would be followed") {
  Index one = 1;
  for (const Index stride : {std::numeric_limits<Index>::max(), std::numeric_limits<Index>::min(),
                             std::numeric_limits<Index>::max() / 8, -std::numeric_limits<Index>::max() / 8}) {
    const TensorView<Index> x{&one, {4, 1}, {stride, 1}};
    CHECK_THROWS_WITH(x.entry(3), contains("dca: stride: " + std::to_string(stride)));
    CHECK_THROWS_WITH(x.slice(0, 2, 1), contains("dca: stride: " + std::to_string(stride)));
    CHECK(x.entry(0).data == &one);
    CHECK(x.slice(0, 3, 0).data == &one);
  }
}

static_assert([] {
  const float memory[6] = {0, 1, 2, 3, 4, 5};
  const TensorView<const float> x{memory, {2, 3}, {3, 1}};
  return *x.entry(1).slice(0, 2, 1).data == 5;
}());
