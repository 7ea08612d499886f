// Arguments of C as those of the compiled operator.
#pragma once

#include <algorithm>

#include "handles.hpp"
#include "structs.hpp"

namespace dca::c {

// Enumerations of both have the same numbers, those of dtypes but for their first.
template <class Enum>
constexpr bool same(int of_c, Enum of_library) {
  return of_c == static_cast<int>(of_library);
}
using compiled::Composition, compiled::DType, compiled::Policy, compiled::RopePairing, compiled::RopeScaling;
static_assert(same(DCA_FLOAT32 - 1, DType::float32) && same(DCA_FLOAT64 - 1, DType::float64) &&
              same(DCA_FLOAT16 - 1, DType::float16) && same(DCA_BFLOAT16 - 1, DType::bfloat16) &&
              same(DCA_INT8 - 1, DType::int8) && same(DCA_INT4 - 1, DType::int4));
static_assert(same(DCA_ROPE_PAIRING_HALF, RopePairing::half) &&
              same(DCA_ROPE_PAIRING_INTERLEAVED, RopePairing::interleaved));
static_assert(same(DCA_ROPE_SCALING_NONE, RopeScaling::none) && same(DCA_ROPE_SCALING_LINEAR, RopeScaling::linear) &&
              same(DCA_ROPE_SCALING_NTK, RopeScaling::ntk) &&
              same(DCA_ROPE_SCALING_DYNAMIC_NTK, RopeScaling::dynamic_ntk) &&
              same(DCA_ROPE_SCALING_YARN, RopeScaling::yarn) && same(DCA_ROPE_SCALING_LLAMA3, RopeScaling::llama3));
static_assert(same(DCA_COMPOSITION_DUAL_CHUNK, Composition::dual_chunk) &&
              same(DCA_COMPOSITION_CAUSAL, Composition::causal) &&
              same(DCA_COMPOSITION_INTRA_CHUNK, Composition::intra_chunk) &&
              same(DCA_COMPOSITION_SUCCESSIVE_CHUNK, Composition::successive_chunk) &&
              same(DCA_COMPOSITION_INTER_CHUNK, Composition::inter_chunk));
static_assert(same(DCA_POLICY_ALL, Policy::all) && same(DCA_POLICY_FIRST_AND_RECENT, Policy::first_and_recent) &&
              same(DCA_POLICY_TOP_BLOCKS, Policy::top_blocks));
static_assert(DCA_UNSEEN == compiled::unseen);

/// A number of an enumeration whose numbers are 0 to `last`.
template <class Enum>
Enum enum_of(const char* argument, std::int32_t value, Enum last, const char* allowed) {
  if (value < 0 || value > static_cast<int>(last)) fail(argument, to_text(value), allowed);
  return static_cast<Enum>(value);
}

inline DType dtype_of(const char* argument, dca_dtype dtype) {
  if (dtype < DCA_FLOAT32 || dtype > DCA_INT4) {
    fail(argument, "dtype " + to_text(dtype),
         "must be DCA_FLOAT32, DCA_FLOAT64, DCA_FLOAT16, DCA_BFLOAT16, DCA_INT8 or DCA_INT4");
  }
  return static_cast<DType>(dtype - DCA_FLOAT32);
}

inline bool flag_of(const char* argument, std::int32_t flag) {
  if (flag != 0 && flag != 1) fail(argument, to_text(flag), "must be 0 or 1");
  return flag == 1;
}

/// A number with a flag that says whether it is given; one that is there without it was meant.
template <class Number>
std::optional<Number> optional_of(const char* argument, const char* flag_name, std::int32_t flag, Number number) {
  if (flag_of(flag_name, flag)) return number;
  if (number != 0)
    fail(argument, to_text(number) + " without its flag", Text(flag_name) + " must be 1 for it to be read");
  return {};
}

/// `count` elements of the caller's. Throws std::invalid_argument where there are none to point to.
template <class X>
std::span<const X> span_of(const char* argument, const X* data, std::int64_t count) {
  if (count < 0) fail(argument, "size " + to_text(count), "must be at least 0");
  if (data == nullptr && count > 0) fail(argument, "NULL", "must point to " + to_text(count) + " elements");
  return {data, static_cast<std::size_t>(count)};
}

template <class Data, class Given>
compiled::BasicTensor<Data> tensor_of(const char* argument, const Given* given) {
  check_given(argument, given, "must point to a tensor");
  compiled::BasicTensor<Data> tensor;
  if (given->rank == 0 && given->data == nullptr) return tensor;  // not given; needs no dtype
  tensor.data = given->data;
  tensor.dtype = dtype_of(argument, given->dtype);
  tensor.rank = given->rank;
  std::copy_n(given->shape, 4, tensor.shape);
  std::copy_n(given->strides, 4, tensor.strides);
  return tensor;
}
inline compiled::ConstTensor tensor_of(const char* argument, const dca_const_tensor* given) {
  return tensor_of<const void>(argument, given);
}
inline compiled::Tensor tensor_of(const char* argument, const dca_tensor* given) {
  return tensor_of<void>(argument, given);
}

/// Block tables of the caller's, in memory of `tables`.
inline std::span<const BlockTable> tables_of(const dca_block_table* given, std::int64_t count,
                                             std::vector<BlockTable>& tables) {
  const std::span<const dca_block_table> all = span_of("tables", given, count);
  tables.resize(all.size());
  std::transform(all.begin(), all.end(), tables.begin(), [](const dca_block_table& table) -> BlockTable {
    return {span_of("block_table", table.blocks, table.block_count), table.length};
  });
  return tables;
}

}  // namespace dca::c
