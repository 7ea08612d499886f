// Tensors, threads, memory, and what the library says of itself.
#include "arguments.hpp"

namespace dca::c {

ThreadsObject::ThreadsObject(const dca_executor& given) : own(1), callers(given) {
  constexpr Index most = 4096;
  if (given.threads < 1 || given.threads > most) {
    fail("threads", to_text(given.threads), "must be from 1 to " + to_text(most));
  }
  check_given("schedule", reinterpret_cast<const void*>(given.schedule), "must be a function");
  executor = {this, given.threads, [](void* threads, void (*run)(void*), void* argument) {
                const dca_executor& of = static_cast<const ThreadsObject*>(threads)->callers;
                return of.schedule(of.pool, run, argument) != 0;
              }};
}

namespace {

template <class Data, class Given>
dca_status write_contiguous(Data* data, dca_dtype dtype, std::int32_t rank, const std::int64_t* shape,
                            Given* tensor) noexcept {
  return guarded([&] {
    check_given("tensor", tensor, "must point to where the tensor goes");
    if (rank < 0 || rank > 4) fail("shape", to_text(rank) + " dimensions", "must be from 0 to 4");
    const auto s = span_of("shape", shape, rank);
    const DType type = dtype_of("tensor", dtype);
    const compiled::BasicTensor<Data> made = rank == 0   ? compiled::contiguous(data, type, {})
                                             : rank == 1 ? compiled::contiguous(data, type, {s[0]})
                                             : rank == 2 ? compiled::contiguous(data, type, {s[0], s[1]})
                                             : rank == 3 ? compiled::contiguous(data, type, {s[0], s[1], s[2]})
                                                         : compiled::contiguous(data, type, {s[0], s[1], s[2], s[3]});
    *tensor = {data, dtype, rank, {}, {}};
    std::copy_n(made.shape, 4, tensor->shape);
    std::copy_n(made.strides, 4, tensor->strides);
  });
}

}  // namespace
}  // namespace dca::c

using namespace dca::c;

dca_status dca_contiguous(void* data, dca_dtype dtype, int32_t rank, const int64_t* shape, dca_tensor* tensor) {
  return write_contiguous(data, dtype, rank, shape, tensor);
}

dca_status dca_contiguous_const(const void* data, dca_dtype dtype, int32_t rank, const int64_t* shape,
                                dca_const_tensor* tensor) {
  return write_contiguous(data, dtype, rank, shape, tensor);
}

dca_status dca_threads_create(int64_t count, dca_threads** threads) {
  return create("threads", threads, [&] { return std::make_unique<ThreadsObject>(dca::Index{count}); });
}

dca_status dca_threads_create_from_executor(const dca_executor* executor, dca_threads** threads) {
  return create("threads", threads,
                [&] { return std::make_unique<ThreadsObject>(read_struct("executor", executor, DCA_EXECUTOR_INIT)); });
}

dca_status dca_threads_destroy(dca_threads* threads) { return destroy("threads", threads); }

dca_status dca_workspace_create(dca_workspace** workspace) {
  return create("workspace", workspace, [] { return std::make_unique<WorkspaceObject>(); });
}

dca_status dca_workspace_destroy(dca_workspace* workspace) { return destroy("workspace", workspace); }

dca_status dca_workspace_bytes(const dca_workspace* workspace, int64_t* bytes) {
  return write_result("bytes", bytes, [&] { return object_of("workspace", workspace).workspace.bytes(); });
}

const char* dca_version() { return dca::compiled::version(); }

dca_status dca_kernels_in_use(dca_kernels* kernels) {
  return guarded([&] {
    const dca::compiled::KernelsInUse used = dca::compiled::kernels_in_use();
    write_struct("kernels", kernels,
                 {sizeof(dca_kernels), used.instruction_set, used.float_packet_size, used.double_packet_size});
  });
}
