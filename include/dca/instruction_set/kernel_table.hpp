// The kernels of one instruction set, as dca::kernels has them compiled, and those for the processor at work.
#pragma once

#include <Eigen/Core>
#include <array>
#include <span>
#include <vector>

#include "dca/tensor/index.hpp"

namespace dca {

struct Int8;
struct Int4;
class Workspace;
template <class T>
struct PartialState;
struct ChosenBlocks;
enum class RopePairing;

/// Rows and columns of a register tile, in elements.
struct TileShape {
  int rows = 0;
  int columns = 0;
};

/// instruction_set is that of Eigen's packets; packet sizes are in elements. reads_*: whether float calls multiply rows
/// of a storage from where they lie; otherwise they are decoded first.
struct KernelInfo {
  const char* instruction_set = "";
  int float_packet_size = 0;
  int double_packet_size = 0;
  TileShape float_register_tile{};
  TileShape double_register_tile{};
  bool reads_half = false;
  bool reads_bfloat16 = false;
  bool reads_int8 = false;
  bool reads_int4 = false;
};

namespace detail {

class DeviceRef;
struct AttentionParams;
struct ByteRow;
struct BytePlace;
struct RowStream;
struct Turn;
template <class T>
struct TurnedVector;
template <class T>
struct TurnsOfBlocks;
template <class T>
class SourceRef;
template <class T>
struct AttentionCall;
template <class T>
struct SelectionRef;

/// Query rows that a pass over a tile's rows serves together.
inline constexpr int rows_per_pass = 4;

/// By the number of query rows less 1.
template <class Function>
using ByRows = std::array<Function, rows_per_pass>;

/// Decodes a row of `features` into numbers of T.
template <class T>
using DecodeRow = void (*)(ByteRow row, Index features, T* place);
/// Stores the features at x, of a number type, as a row.
using EncodeRow = void (*)(const void* x, Index features, const BytePlace& place);
/// As score_rows and add_values of the machine.
template <class T>
using ScoreRows = void (*)(const RowStream&, Index features, const std::byte* queries, T* scores, Index score_stride);
template <class T>
using AddValues = void (*)(const RowStream&, Index features, const T* weights, Index weight_stride, T* sums);
/// How rows of a storage are multiplied with queries of T. Where there is `pack`, queries may be packed before, in rows
/// that are `packed_bytes` long, if features are a multiple of `step` and it takes them all.
template <class T>
struct ScoreFunctions {
  ByRows<ScoreRows<T>> of_numbers;
  ByRows<ScoreRows<T>> of_packed;
  Index step;
  Index (*packed_bytes)(Index features);
  bool (*pack)(const T* query, Index features, std::byte* packed);
};
/// Writes the sums of a row, times a weight, as the output's type.
template <class T>
using WriteRow = void (*)(const T* sums, T weight, Index features, std::byte* row);
/// Turns a row's pairs of features and puts the first of each pair in front, or leaves them in place.
template <class T>
using TurnRow = void (*)(RopePairing, const void* x, Index pairs, const T* cosine, const T* sine, T* y);
template <class T>
using TurnInPlace = void (*)(RopePairing, void* x, Index pairs, const T* cosine, const T* sine);

/// As detail::merge_row.
template <class T>
using MergeRow = void (*)(std::span<const PartialState<const T>> states, const PartialState<T>& result,
                          const Index at[3], const T* sink_logits, double* weights, double* sums);
/// As the functions of KeySummary: a key, the summary of `count` keys in float or in double, and the end.
template <class T>
struct SummaryFunctions {
  void (*add_key)(const T* row, Index features, T* summary);
  void (*add_floats)(const float* other, Index count, Index features, T* summary);
  void (*add_doubles)(const double* other, Index count, Index features, T* summary);
  void (*finish)(Index count, Index features, T* summary);
};

/// Where a storage of the library's stands in the tables below; -1 for one of a user's own. Numbers come first.
template <class E>
inline constexpr int storage_index = -1;
template <>
inline constexpr int storage_index<float> = 0;
template <>
inline constexpr int storage_index<double> = 1;
template <>
inline constexpr int storage_index<Eigen::half> = 2;
template <>
inline constexpr int storage_index<Eigen::bfloat16> = 3;
template <>
inline constexpr int storage_index<Int8> = 4;
template <>
inline constexpr int storage_index<Int4> = 5;
inline constexpr int number_count = 4, storage_count = 6;

/// Whether X is one of the numbers that the tables know. Others are read and written by the file that has them.
template <class X>
inline constexpr bool is_known_number = storage_index<X> >= 0 && storage_index<X> < number_count;

/// What a program calls of kernels whose arithmetic is in T. Null where a storage or number needs nothing, or has no
/// way.
template <class T>
struct ScalarKernels {
  Index packet_features;
  DecodeRow<T> decode[storage_count];
  const ScoreFunctions<T>* score[storage_count];
  const ByRows<AddValues<T>>* add[storage_count];
  WriteRow<T> write[number_count];
  void (*attend)(const DeviceRef&, const AttentionParams&, const SourceRef<T>&, const AttentionCall<T>&, Workspace*);
  void (*attend_selected)(const DeviceRef&, const AttentionParams&, const SourceRef<T>&, const AttentionCall<T>&,
                          Workspace*, const SelectionRef<T>&, Index part, std::vector<ChosenBlocks>*);
  void (*add_turns)(const double* angle, const Turn& a, const Turn& b, T* cosine, T* sine);
  void (*add_turned)(const TurnedVector<T>&, Index position, TurnsOfBlocks<T>&, T* row);
  MergeRow<T> merge_row;
  SummaryFunctions<T> summary;
  TurnRow<T> turn[number_count];
  TurnInPlace<T> turn_in_place[number_count];
};

/// No packet crosses this table, nor any type whose layout depends on the instruction set.
struct Kernels {
  KernelInfo info;
  EncodeRow encode[number_count][storage_count];  // from a number, as a storage
  const ScalarKernels<float>* in_float;
  const ScalarKernels<double>* in_double;
};

/// Those for the processor at work, or for the instruction set that DCA_INSTRUCTION_SET names in the environment when
/// they are first used. Throws std::invalid_argument where the library has no such set, or the processor.
/// Defined in the library dca::kernels.
[[gnu::visibility("default")]] const Kernels& kernels();

template <class T>
const ScalarKernels<T>& kernels_of() {
  if constexpr (std::is_same_v<T, float>) {
    return *kernels().in_float;
  } else {
    return *kernels().in_double;
  }
}

}  // namespace detail
}  // namespace dca
