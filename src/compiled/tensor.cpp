#include <dca/compiled/tensor.hpp>

#include <algorithm>

namespace dca::compiled {
namespace {

template <class Data>
BasicTensor<Data> packed(Data* data, DType dtype, std::initializer_list<Index> shape) {
  if (shape.size() > 4) {
    detail::fail("shape", detail::to_text(shape.size()) + " dimensions", "a tensor has at most 4");
  }
  BasicTensor<Data> x;
  x.data = data;
  x.dtype = dtype;
  x.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), x.shape);
  Index stride = 1;
  for (int k = x.rank - 1; k >= 0; --k) {
    x.strides[k] = stride;
    stride = detail::checked_product("shape", stride, std::max<Index>(x.shape[k], 1));
  }
  return x;
}

}  // namespace

Tensor contiguous(void* data, DType dtype, std::initializer_list<Index> shape) { return packed(data, dtype, shape); }
ConstTensor contiguous(const void* data, DType dtype, std::initializer_list<Index> shape) {
  return packed(data, dtype, shape);
}

}  // namespace dca::compiled
