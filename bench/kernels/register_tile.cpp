// The two products alone, as the tile loop calls them. With operands in the first-level cache they should run near the
// peak; where a compiler unrolls badly or spills, this is where it shows.
#include <dca/kernel/machine/product.hpp>

#include "problem.hpp"

namespace dca::bench {
namespace {

constexpr int vectors = detail::register_tile.vectors;

template <class T>
using Packed = Eigen::Array<T, Eigen::Dynamic, 1>;

/// Twice `rows x lanes x depth`, for one multiply_keys of `rows` keys or one multiply_values of `rows` features.
template <class T>
double product_flops(Index rows, Index depth) {
  return 2.0 * static_cast<double>(rows * detail::panel_rows<T> * depth);
}

/// scores = keys x queries. Arguments: keys, head_dim.
template <class T>
void keys_by_queries(benchmark::State& state) {
  const Index count = state.range(0), head_dim = state.range(1);
  const Packed<T> keys = Packed<T>::Random(count * head_dim);
  const Packed<T> queries = Packed<T>::Random(head_dim * detail::panel_rows<T>);
  Packed<T> scores(count * detail::panel_rows<T>), most(detail::panel_rows<T>);
  SpeedReport speed(state);
  for (auto _ : state) {
    detail::multiply_keys(keys.data(), count, head_dim, vectors, queries.data(), scores.data(), most.data(),
                          {nullptr, nullptr});
    benchmark::DoNotOptimize(scores.data());
    benchmark::ClobberMemory();
  }
  speed.write<T>(product_flops<T>(count, head_dim), 1);
}

/// sums = sums * factor + values^T x probabilities. Arguments: v_head_dim, keys.
template <class T>
void values_by_probabilities(benchmark::State& state) {
  const Index features = state.range(0), count = state.range(1);
  const Packed<T> values = Packed<T>::Random(features * count);
  const Packed<T> probabilities = Packed<T>::Random(count * detail::panel_rows<T>).abs();
  const Packed<T> factor = Packed<T>::Constant(detail::panel_rows<T>, T{0.5});  // keeps the sums from growing
  Packed<T> sums = Packed<T>::Zero(features * detail::panel_rows<T>);
  SpeedReport speed(state);
  for (auto _ : state) {
    detail::multiply_values(values.data(), count, 0, count, features, vectors, probabilities.data(), factor.data(),
                            sums.data(), {nullptr, nullptr});
    benchmark::DoNotOptimize(sums.data());
    benchmark::ClobberMemory();
  }
  speed.write<T>(product_flops<T>(features, count), 1);
}

/// Two register tiles of 64 steps: about 20 KiB with everything. Then what the tile loop has: a tile of 128 keys.
template <class T>
void add_products(const std::string& type) {
  constexpr Index rows = 2 * detail::register_tile.rows;
  const auto add = [&](const std::string& name, auto* function, Index tile_rows, Index depth, const char* what) {
    benchmark::RegisterBenchmark(("register_tile/" + name + "/" + type).c_str(), function)
        ->ArgNames({what, what[0] == 'k' ? "D" : "keys"})
        ->Args({tile_rows, depth});
  };
  add("L1/keys_by_queries", keys_by_queries<T>, rows, 64, "keys");
  add("L1/values_by_probabilities", values_by_probabilities<T>, rows, 64, "D");
  add("L2/keys_by_queries", keys_by_queries<T>, detail::key_tile, 128, "keys");
  add("L2/values_by_probabilities", values_by_probabilities<T>, 128, detail::key_tile, "D");
}

}  // namespace

void add_register_tile() {
  add_products<float>("float");
  add_products<double>("double");
}

}  // namespace dca::bench
