#include <array>
#include <limits>

#include "golden_runner/paths.hpp"

namespace dca_test {
namespace {

using dca::Index;

/// Copies between dense [batch, length, heads, dim] memory and any view of that shape, or of rank 3 for a batch of one.
template <class T, class Move>
void for_each_pair(const dca::TensorView<T>& view, T* dense, const dca::Extents& shape, const Move& move) {
  const int skip = 4 - view.shape.rank();
  for (Index b = 0; b < shape[0]; ++b) {
    for (Index l = 0; l < shape[1]; ++l) {
      for (Index h = 0; h < shape[2]; ++h) {
        for (Index d = 0; d < shape[3]; ++d) {
          const std::array<Index, 4> at{b, l, h, d};
          Index offset = 0;
          for (int k = skip; k < 4; ++k) offset += at[static_cast<std::size_t>(k)] * view.strides[k - skip];
          move(view.data[offset], dense[((b * shape[1] + l) * shape[2] + h) * shape[3] + d]);
        }
      }
    }
  }
}

enum class Order { blhd, bhld };

template <Order order, class Tensor>
auto view_of(Tensor& tensor) {
  if constexpr (order == Order::blhd) {
    return dca::blhd(tensor);
  } else {
    return dca::bhld(tensor);
  }
}

template <Order order, class Tensor>
auto lse_view_of(Tensor& tensor) {
  if constexpr (order == Order::blhd) {
    return dca::blh(tensor);
  } else {
    return dca::bhl(tensor);
  }
}

/// An Eigen tensor whose view has the given shape [batch, length, heads(, dim)], the batch dropped for rank - 1.
template <class T, int Rank, int Layout, Order order>
Eigen::Tensor<T, Rank, Layout> make_tensor(const dca::Extents& shape, bool has_features) {
  std::array<Index, 4> outermost_first{};
  int rank = 0;
  const int full = has_features ? 4 : 3;
  for (int k = full - Rank; k < full; ++k) outermost_first[static_cast<std::size_t>(rank++)] = shape[k];
  if (order == Order::bhld) {
    const auto heads = static_cast<std::size_t>(has_features ? Rank - 2 : Rank - 1);
    std::swap(outermost_first[heads], outermost_first[heads - 1]);
  }
  Eigen::array<Index, static_cast<std::size_t>(Rank)> sizes{};
  for (std::size_t k = 0; k < static_cast<std::size_t>(Rank); ++k) {
    sizes[k] = outermost_first[Layout == Eigen::RowMajor ? k : static_cast<std::size_t>(Rank) - 1 - k];
  }
  Eigen::Tensor<T, Rank, Layout> tensor(sizes);
  tensor.setConstant(std::numeric_limits<T>::quiet_NaN());
  return tensor;
}

template <class T, int Rank, int Layout, Order order>
GoldenOutputs<T> run_layout(const GoldenProblem<T>& problem, std::string name) {
  const auto filled = [](const std::vector<T>& dense, const dca::Extents& shape) {
    auto tensor = make_tensor<T, Rank, Layout, order>(shape, true);
    for_each_pair(view_of<order>(tensor), const_cast<T*>(dense.data()), shape, [](T& to, const T& from) { to = from; });
    return tensor;
  };
  const auto query = filled(problem.query, problem.query_shape());
  const auto key = filled(problem.key, problem.key_shape());
  const auto value = filled(problem.value, problem.value_shape());
  auto out = make_tensor<T, Rank, Layout, order>(problem.out_shape(), true);
  auto lse = make_tensor<T, Rank - 1, Layout, order>(problem.lse_shape(), false);
  problem.template make<dca::DualChunkAttention<T>>()(
      Eigen::DefaultDevice{}, view_of<order>(query), view_of<order>(key), view_of<order>(value), view_of<order>(out),
      {.q_offset = problem.parameters.q_offset, .lse = lse_view_of<order>(lse), .sink_logits = problem.sinks});
  GoldenOutputs<T> outputs(problem, std::move(name));
  const auto read = [](T& from, T& to) { to = from; };
  for_each_pair(view_of<order>(out), outputs.out.data(), problem.out_shape(), read);
  dca::TensorView<T> lse_rows = lse_view_of<order>(lse);  // with a dimension of one feature
  lse_rows.shape = Rank == 4 ? dca::Extents{0, 0, 0, 1} : dca::Extents{0, 0, 1};
  lse_rows.strides = Rank == 4 ? dca::Extents{lse_rows.strides[0], lse_rows.strides[1], lse_rows.strides[2], 1}
                               : dca::Extents{lse_rows.strides[0], lse_rows.strides[1], 1};
  const dca::Extents lse_shape = problem.lse_shape();
  for_each_pair(lse_rows, outputs.lse.data(), {lse_shape[0], lse_shape[1], lse_shape[2], 1}, read);
  return outputs;
}

/// Rows with `gap` elements of NaN after each, which nobody may read or write.
template <class T>
GoldenOutputs<T> run_with_gaps(const GoldenProblem<T>& problem) {
  constexpr Index gap = 3;
  std::vector<std::vector<T>> memory;
  const auto gapped = [&](const std::vector<T>& dense, dca::Extents shape) {
    const Index features = shape[3];
    shape[3] += gap;
    dca::TensorView<T> view = dca::contiguous<T>(nullptr, shape);
    view.shape[3] = features;
    std::vector<T>& elements = memory.emplace_back(element_count({shape[0], shape[1], shape[2], shape[3]}),
                                                   std::numeric_limits<T>::quiet_NaN());
    view.data = elements.data();
    for_each_pair(view, const_cast<T*>(dense.data()), view.shape, [](T& to, const T& from) { to = from; });
    return view;
  };
  GoldenOutputs<T> outputs(problem, "gaps between rows");
  const dca::TensorView<T> out = gapped(outputs.out, problem.out_shape());
  problem.template make<dca::DualChunkAttention<T>>()(
      Eigen::DefaultDevice{}, gapped(problem.query, problem.query_shape()), gapped(problem.key, problem.key_shape()),
      gapped(problem.value, problem.value_shape()), out,
      {.q_offset = problem.parameters.q_offset,
       .lse = dca::contiguous(outputs.lse.data(), problem.lse_shape()),
       .sink_logits = problem.sinks});
  for_each_pair(out, outputs.out.data(), problem.out_shape(), [](T& from, T& to) { to = from; });
  return outputs;
}

}  // namespace

template <class T>
std::vector<GoldenOutputs<T>> layouts_path(const GoldenProblem<T>& problem) {
  constexpr int row = Eigen::RowMajor, column = Eigen::ColMajor;
  std::vector<GoldenOutputs<T>> all;
  all.push_back(run_layout<T, 4, row, Order::blhd>(problem, "blhd row-major"));
  all.push_back(run_layout<T, 4, column, Order::blhd>(problem, "blhd column-major"));
  all.push_back(run_layout<T, 4, row, Order::bhld>(problem, "bhld row-major"));
  all.push_back(run_layout<T, 4, column, Order::bhld>(problem, "bhld column-major"));
  if (problem.parameters.batch == 1) {
    all.push_back(run_layout<T, 3, row, Order::blhd>(problem, "lhd row-major"));
    all.push_back(run_layout<T, 3, column, Order::blhd>(problem, "lhd column-major"));
    all.push_back(run_layout<T, 3, row, Order::bhld>(problem, "hld row-major"));
    all.push_back(run_layout<T, 3, column, Order::bhld>(problem, "hld column-major"));
  }
  all.push_back(run_with_gaps(problem));
  return all;
}

template std::vector<GoldenOutputs<float>> layouts_path(const GoldenProblem<float>&);
template std::vector<GoldenOutputs<double>> layouts_path(const GoldenProblem<double>&);

}  // namespace dca_test
