// Numbers at the ends of what a type holds, and memory at the ends of what an index reaches.
#include <cmath>

#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

using namespace dca_test;

TEMPLATE_TEST_CASE("denormal values are averaged, not flushed", "", float, double) {
  using T = TestType;
  constexpr T least = std::numeric_limits<T>::denorm_min();
  Random random;
  const Index q_len = GENERATE(1, 40);
  Inputs<T> in({1, q_len, 90, 2, 1, 16, 16}, random);
  for (T& value : in.value) value = static_cast<T>(random.integer(-1000, 1000)) * least;
  const auto attention = make_chunked<dca::DualChunkAttention<T>>({24, 8}, 16);
  const Outputs<T> result = run(attention, in);
  const reference::Result expected = dual_chunk_reference(in, {24, 8}, make_ropes(16).reference);
  // A product of a weight and a value rounds to a multiple of the least number, at each key.
  CHECK(largest_error(result.out, expected.out) <= 90 * static_cast<double>(least));
  CHECK(largest_finite(expected.out) > 50 * static_cast<double>(least));
}

TEMPLATE_TEST_CASE("with denormal keys or queries all keys weigh the same", "", float, double) {
  using T = TestType;
  constexpr T least = std::numeric_limits<T>::denorm_min();
  Random random;
  const Index q_len = GENERATE(1, 40);
  Inputs<T> in({1, q_len, 90, 2, 1, 16, 16}, random);
  const bool queries = GENERATE(false, true);
  for (T& x : queries ? in.query : in.key) x = static_cast<T>(random.integer(-1000, 1000)) * least;
  const Outputs<T> result = run(make_chunked<dca::DualChunkAttention<T>>({24, 8}, 16), in);
  CHECK(difference(result, dual_chunk_reference(in, {24, 8}, make_ropes(16).reference)) == "");
  CHECK(std::abs(static_cast<double>(result.lse.back()) - std::log(90.0)) <= lse_bound<T>({}, std::log(90.0)));
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace {

/// Addresses without memory until they are written: tensors whose rows lie far apart.
class SparseMemory {
 public:
  explicit SparseMemory(std::size_t bytes)
      : bytes_(bytes),
        memory_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~SparseMemory() {
    if (there()) ::munmap(memory_, bytes_);
  }
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  bool there() const { return memory_ != MAP_FAILED; }
  float* data() const { return static_cast<float*>(memory_); }

 private:
  std::size_t bytes_;
  void* memory_;
};

/// A tensor of four dimensions with tokens `stride` elements apart, with the numbers of a dense one.
template <class T>
dca::TensorView<T> spread(T* place, const std::vector<float>& dense, const dca::Extents& shape, Index stride) {
  const dca::TensorView<T> view{place, shape, {shape[1] * stride, stride, shape[3], 1}};
  const Index row = shape[2] * shape[3];
  for (Index token = 0; token < shape[0] * shape[1]; ++token) {
    std::copy_n(dense.data() + token * row, row, const_cast<float*>(place) + token * stride);
  }
  return view;
}

}  // namespace

TEST_CASE("rows that lie further apart than 32 bits count are read and written") {
  Random random;
  const Index q_len = GENERATE(1, 20);
  const Inputs<float> in({1, q_len, 40, 2, 1, 16, 16}, random);
  // 100 rows of 2^27 elements: offsets up to 1.3e10 elements, 5e10 bytes.
  constexpr Index stride = Index{1} << 27;
  const SparseMemory memory(static_cast<std::size_t>(120 * stride) * sizeof(float));
  if (!memory.there()) {
    skip("64 GB of addresses are not to be had");
    return;
  }
  float* const place = memory.data();
  const auto query = spread(place, in.query, in.query_shape(), stride);
  const auto key = spread(place + 20 * stride, in.key, in.key_shape(), stride);
  const auto value = spread(place + 60 * stride, in.value, in.value_shape(), stride);
  Outputs<float> nothing(in);
  const auto out = spread(place + 100 * stride, nothing.out, in.out_shape(), stride);
  const auto attention = make_chunked<dca::DualChunkAttention<float>>({16, 4}, 16);
  attend(attention, Eigen::DefaultDevice{}, Operands<float>{query, key, value}, out);
  const Outputs<float> expected = run(attention, in);
  const Index row = in.out_shape()[2] * in.out_shape()[3];
  std::vector<float> written;
  for (Index token = 0; token < q_len; ++token) {
    written.insert(written.end(), out.data + token * stride, out.data + token * stride + row);
  }
  CHECK(same_bits(written, expected.out));
}
#endif
