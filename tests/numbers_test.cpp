// Numbers at the ends of what a type holds, and memory at the ends of what an index reaches.
#include <cmath>

#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/sanitized.hpp"
#include "support/skip.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

using namespace dca_test;

namespace {

constexpr dca::ChunkConfig chunks{24, 8};

/// A problem of 90 tokens whose queries, keys or values are up to 1000 times the least number there is.
template <class T>
Inputs<T> with_denormals(Index q_len, std::vector<T> Inputs<T>::*which) {
  Random random;
  Inputs<T> in({1, q_len, 90, 2, 1, 16, 16}, random);
  for (T& x : in.*which) x = static_cast<T>(random.integer(-1000, 1000)) * std::numeric_limits<T>::denorm_min();
  return in;
}

}  // namespace

TEMPLATE_TEST_CASE("denormal values are averaged, not flushed", "", float, double) {
  using T = TestType;
  const auto in = with_denormals<T>(GENERATE(1, 40), &Inputs<T>::value);
  const Outputs<T> result = run(make_chunked<dca::DualChunkAttention<T>>(chunks, 16), in);
  const reference::Result expected = dual_chunk_reference(in, chunks, make_ropes(16).reference);
  // A product of a weight and a value rounds to a multiple of the least number, at each key.
  const double least = static_cast<double>(std::numeric_limits<T>::denorm_min());
  CHECK(largest_error(result.out, expected.out) <= 90 * least);
  CHECK(largest_finite(expected.out) > 50 * least);
}

TEMPLATE_TEST_CASE("with denormal keys or queries all keys weigh the same", "", float, double) {
  using T = TestType;
  const Index q_len = GENERATE(1, 40);
  for (const auto which : {&Inputs<T>::query, &Inputs<T>::key}) {
    const auto in = with_denormals<T>(q_len, which);
    const Outputs<T> result = run(make_chunked<dca::DualChunkAttention<T>>(chunks, 16), in);
    CHECK(difference(result, dual_chunk_reference(in, chunks, make_ropes(16).reference)) == "");
    CHECK(std::abs(static_cast<double>(result.lse.back()) - std::log(90.0)) <= lse_bound<T>({}, std::log(90.0)));
  }
}

namespace {

/// Addresses without memory until they are written: tensors whose rows lie far apart. Not there where the system has
/// none to give.
class SparseMemory {
 public:
  explicit SparseMemory(std::size_t bytes) : bytes_(bytes) {
#if defined(__linux__)
    void* const memory =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) memory_ = memory;
#endif
  }
  ~SparseMemory() {
#if defined(__linux__)
    if (there()) ::munmap(memory_, bytes_);
#endif
  }
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  bool there() const { return memory_ != nullptr; }
  float* data() const { return static_cast<float*>(memory_); }

 private:
  [[maybe_unused]] std::size_t bytes_;
  void* memory_ = nullptr;
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
  if (is_sanitized) {
    skip("sanitizers take the addresses");
    return;
  }
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
  attention(Eigen::DefaultDevice{}, query, key, value, out);
  const Outputs<float> expected = run(attention, in);
  const Index row = in.out_shape()[2] * in.out_shape()[3];
  std::vector<float> written;
  for (Index token = 0; token < q_len; ++token) {
    written.insert(written.end(), out.data + token * stride, out.data + token * stride + row);
  }
  CHECK(same_bits(written, expected.out));
}
