// From the types that are values to those of the templates.
#pragma once

#include <dca/compiled/tensor.hpp>
#include <dca/dca.hpp>

namespace dca::compiled {

/// The name of a type; its number where there is none.
inline detail::Text name_of(DType dtype) {
  constexpr const char* names[] = {"float32", "float64", "float16", "bfloat16", "int8", "int4"};
  const int number = static_cast<int>(dtype);
  if (number < 0 || number >= static_cast<int>(std::size(names))) return "dtype " + detail::to_text(number);
  return names[number];
}

/// Calls f(std::type_identity<E>) with the type of a storage. Throws std::invalid_argument for another value.
template <class F>
decltype(auto) visit_storage(const char* argument, DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(std::type_identity<float>{});
    case DType::float64:
      return f(std::type_identity<double>{});
    case DType::float16:
      return f(std::type_identity<Eigen::half>{});
    case DType::bfloat16:
      return f(std::type_identity<Eigen::bfloat16>{});
    case DType::int8:
      return f(std::type_identity<Int8>{});
    case DType::int4:
      return f(std::type_identity<Int4>{});
  }
  detail::fail(argument, name_of(dtype), "must be float32, float64, float16, bfloat16, int8 or int4");
}

/// Likewise with that of a number.
template <class F>
auto visit_number(const char* argument, DType dtype, F&& f) {
  constexpr const char* allowed = "must be that of a number: float32, float64, float16 or bfloat16";
  const int number = static_cast<int>(dtype);  // numbers come first
  if (number < 0 || number >= detail::number_count) detail::fail(argument, name_of(dtype), allowed);
  using Result = decltype(f(std::type_identity<float>{}));
  return visit_storage(argument, dtype, [&]<class E>(std::type_identity<E> type) -> Result {
    if constexpr (detail::is_known_number<E>) {
      return f(type);
    } else {
      detail::fail(argument, name_of(dtype), allowed);
    }
  });
}

/// Shape and strides of a tensor. Throws std::invalid_argument for a rank beyond 4.
template <class Data>
detail::AnyTensor any_tensor(const char* argument, const BasicTensor<Data>& x) {
  if (x.rank < 0 || x.rank > Extents::max_rank) {
    detail::fail(argument, "rank " + detail::to_text(x.rank), "must be from 0 to 4");
  }
  constexpr Extents ranks[] = {{}, {0}, {0, 0}, {0, 0, 0}, {0, 0, 0, 0}};
  Extents shape = ranks[x.rank], strides = ranks[x.rank];
  for (int k = 0; k < x.rank; ++k) {
    shape[k] = x.shape[k];
    strides[k] = x.strides[k];
  }
  const Index size = visit_number(argument, x.dtype, []<class X>(std::type_identity<X>) { return Index{sizeof(X)}; });
  return {x.data, shape, strides, size};
}

/// One whose type must be T.
template <class T, class Data>
auto typed_tensor(const char* argument, const BasicTensor<Data>& x) {
  using Element = std::conditional_t<std::is_const_v<Data>, const T, T>;
  if (x.rank == 0 && x.data == nullptr) return TensorView<Element>{};
  const detail::AnyTensor any = any_tensor(argument, x);
  if (x.dtype != DTypeOf<T>::value) {
    detail::fail(argument, name_of(x.dtype), detail::Text("must be ") + name_of(DTypeOf<T>::value) + ", the scalar");
  }
  return TensorView<Element>{static_cast<Element*>(x.data), any.shape, any.strides};
}

}  // namespace dca::compiled
