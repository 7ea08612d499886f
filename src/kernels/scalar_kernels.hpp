// The table of this instruction set's kernels for one scalar.
#pragma once

#include <dca/dca.hpp>

#if defined(DCA_COMPILED_KERNELS)
#error "the compiled kernels are made of this file's own"
#endif

namespace dca::detail {

template <class T>
constexpr ScalarKernels<T> scalar_kernels() {
  ScalarKernels<T> table{};
  table.packet_features = packet_size<T>;
  const auto add_storage = [&]<class E>(std::type_identity<E>) {
    constexpr int k = storage_index<E>;
    table.decode[k] = decode_of<T, E>();
    table.score[k] = score_table_of<T, E>();
    table.add[k] = add_table_of<T, E>();
  };
  const auto add_number = [&]<class X>(std::type_identity<X> number) {
    constexpr int k = storage_index<X>;
    add_storage(number);
    table.write[k] = write_of<T, X>();
    table.turn[k] = [](RopePairing pairing, const void* x, Index pairs, const T* cosine, const T* sine, T* y) {
      turn_row(pairing, static_cast<const X*>(x), pairs, cosine, sine, y);
    };
    table.turn_in_place[k] = [](RopePairing pairing, void* x, Index pairs, const T* cosine, const T* sine) {
      turn_in_place(pairing, static_cast<X*>(x), pairs, cosine, sine);
    };
  };
  add_number(std::type_identity<float>{});
  add_number(std::type_identity<double>{});
  add_number(std::type_identity<Eigen::half>{});
  add_number(std::type_identity<Eigen::bfloat16>{});
  add_storage(std::type_identity<Int8>{});
  add_storage(std::type_identity<Int4>{});
  table.attend = attend<T>;
  table.attend_selected = attend_selected<T>;
  table.add_turns = sum_of_turns<T>;
  table.add_turned = add_turned<T>;
  table.merge_row = merge_row<T>;
  table.summary = {
      [](const T* row, Index features, T* to) { KeySummary<T>(to, features).add(row); },
      [](const float* x, Index count, Index features, T* to) { KeySummary<T>(to, features).add(x, count); },
      [](const double* x, Index count, Index features, T* to) { KeySummary<T>(to, features).add(x, count); },
      [](Index count, Index features, T* to) { KeySummary<T>(to, features).finish(count); }};
  return table;
}

extern const ScalarKernels<float> float_kernels;
extern const ScalarKernels<double> double_kernels;

}  // namespace dca::detail
