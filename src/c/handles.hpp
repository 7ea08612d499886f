// What is behind each handle.
#pragma once

#include <memory>
#include <type_traits>
#include <vector>

#include "registry.hpp"

namespace dca::c {

static_assert(sizeof(void*) == sizeof(HandleNumber), "a pointer must have room for the number of a handle");
static_assert(std::is_same_v<std::int64_t, Index>, "numbers of callers are read where they lie");

/// Parts of the caller's, with what their functions are called through.
struct OwnParts {
  std::vector<dca_part> parts;
  const void* layout = nullptr;
};

// Caches keep the parts of their operator, and may outlive it.
struct AttentionObject {
  std::shared_ptr<const OwnParts> own_parts;
  compiled::Attention attention;
};
struct CacheObject {
  std::shared_ptr<const OwnParts> own_parts;
  compiled::KeyValueCache cache;
};
struct PagedCacheObject {
  std::shared_ptr<const OwnParts> own_parts;
  compiled::PagedCache cache;
};
struct PoolObject {
  std::shared_ptr<const OwnParts> own_parts;
  compiled::BlockPool pool;
  std::vector<BlockTable> tables{};  // of the append at work
};
struct WorkspaceObject {
  compiled::Workspace workspace;
  std::vector<BlockTable> tables{};  // of the call at work
};
struct ChoicesObject {
  compiled::Choices choices;
};
struct ThreadsObject {
  explicit ThreadsObject(Index count) : own(count), executor(own.executor()) {}
  explicit ThreadsObject(const dca_executor& given);
  ThreadsObject(ThreadsObject&&) = delete;

  compiled::Threads own;
  dca_executor callers{};
  Executor executor;
};

template <class Handle>
struct ObjectOf;
template <Kind kind_of_it, class Object>
struct Behind {
  static constexpr Kind kind = kind_of_it;
  using Type = Object;
};
template <>
struct ObjectOf<dca_attention> : Behind<Kind::attention, AttentionObject> {};
template <>
struct ObjectOf<dca_cache> : Behind<Kind::cache, CacheObject> {};
template <>
struct ObjectOf<dca_paged_cache> : Behind<Kind::paged_cache, PagedCacheObject> {};
template <>
struct ObjectOf<dca_pool> : Behind<Kind::pool, PoolObject> {};
template <>
struct ObjectOf<dca_threads> : Behind<Kind::threads, ThreadsObject> {};
template <>
struct ObjectOf<dca_workspace> : Behind<Kind::workspace, WorkspaceObject> {};
template <>
struct ObjectOf<dca_choices> : Behind<Kind::choices, ChoicesObject> {};

/// The object of a handle, which can be changed where the handle can. Throws std::invalid_argument for one not in use.
template <class Handle>
auto& object_of(const char* argument, Handle* handle) {
  using Traits = ObjectOf<std::remove_const_t<Handle>>;
  using Object = std::conditional_t<std::is_const_v<Handle>, const typename Traits::Type, typename Traits::Type>;
  return *static_cast<Object*>(look_up(argument, Traits::kind, reinterpret_cast<HandleNumber>(handle)));
}

/// Writes a handle of what make() returns, a std::unique_ptr; NULL where that fails.
template <class Handle, class Make>
dca_status create(const char* argument, Handle** handle, const Make& make) noexcept {
  if (handle != nullptr) *handle = nullptr;
  return guarded([&] {
    check_given(argument, handle, "must point to where the handle goes");
    std::unique_ptr<typename ObjectOf<Handle>::Type> object = make();
    *handle = reinterpret_cast<Handle*>(enter(ObjectOf<Handle>::kind, object.get()));
    static_cast<void>(object.release());
  });
}

template <class Handle>
dca_status destroy(const char* argument, Handle* handle) noexcept {
  return guarded([&] {
    if (handle == nullptr) return;
    using Traits = ObjectOf<Handle>;
    delete static_cast<typename Traits::Type*>(
        take_out(argument, Traits::kind, reinterpret_cast<HandleNumber>(handle)));
  });
}

/// What calls are given for a dca_threads; NULL is the calling thread alone.
inline Executor executor_of(const dca_threads* threads) {
  return threads == nullptr ? Executor{} : object_of("threads", threads).executor;
}

}  // namespace dca::c
