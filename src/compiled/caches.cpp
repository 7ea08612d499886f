#include "implementation.hpp"

namespace dca::compiled {
BlockPool::BlockPool(Implementation* implementation) : implementation_(implementation) {}
BlockPool::~BlockPool() { delete implementation_; }
BlockPool::BlockPool(BlockPool&& other) noexcept : implementation_(std::exchange(other.implementation_, nullptr)) {}
BlockPool& BlockPool::operator=(BlockPool&& other) noexcept {
  std::swap(implementation_, other.implementation_);
  return *this;
}

Index BlockPool::take() {
  return std::visit([](auto& pool) { return pool.take(); }, Access::of(*this).pool);
}
void BlockPool::share(Index block) {
  std::visit([&](auto& pool) { pool.share(block); }, Access::of(*this).pool);
}
void BlockPool::give_back(Index block) {
  std::visit([&](auto& pool) { pool.give_back(block); }, Access::of(*this).pool);
}
Index BlockPool::users(Index block) const {
  return std::visit([&](const auto& pool) { return pool.users(block); }, Access::of(*this).pool);
}
void BlockPool::set_key_offset(const ConstTensor& offset) {
  std::visit([&](auto& pool) { pool.set_key_offset(offset); }, Access::of(*this).pool);
}
void BlockPool::append(const Executor& executor, std::span<const BlockTable> tables, const ConstTensor& key,
                       const ConstTensor& value) {
  std::visit([&](auto& pool) { pool.append(executor, tables, key, value); }, Access::of(*this).pool);
}
void BlockPool::copy_tokens(Index from, Index to, Index tokens) {
  std::visit([&](auto& pool) { pool.copy_tokens(from, to, tokens); }, Access::of(*this).pool);
}
void BlockPool::copy_tokens_from(const BlockPool& other, Index from, Index to, Index tokens) {
  std::visit(
      [&]<class Pool>(Pool& pool) {
        const auto* const same = std::get_if<Pool>(&Access::of(other).pool);
        if (same == nullptr) detail::fail("other", "holds keys in another scalar", "must have this pool's storages");
        pool.copy_tokens_from(*same, from, to, tokens);
      },
      Access::of(*this).pool);
}
Index BlockPool::blocks() const {
  return std::visit([](const auto& pool) { return pool.blocks(); }, Access::of(*this).pool);
}
Index BlockPool::free_blocks() const {
  return std::visit([](const auto& pool) { return pool.free_blocks(); }, Access::of(*this).pool);
}
Index BlockPool::block_size() const {
  return std::visit([](const auto& pool) { return pool.block_size(); }, Access::of(*this).pool);
}
Index BlockPool::bytes() const {
  return std::visit([](const auto& pool) { return pool.bytes(); }, Access::of(*this).pool);
}

KeyValueCache::KeyValueCache(Implementation* implementation) : implementation_(implementation) {}
KeyValueCache::~KeyValueCache() { delete implementation_; }
KeyValueCache::KeyValueCache(KeyValueCache&& other) noexcept
    : implementation_(std::exchange(other.implementation_, nullptr)) {}
KeyValueCache& KeyValueCache::operator=(KeyValueCache&& other) noexcept {
  std::swap(implementation_, other.implementation_);
  return *this;
}

void KeyValueCache::set_key_offset(const ConstTensor& offset) {
  std::visit([&](auto& cache) { cache.set_key_offset(offset); }, Access::of(*this).cache);
}
void KeyValueCache::append(const Executor& executor, Index sequence, const ConstTensor& key, const ConstTensor& value) {
  std::visit([&](auto& cache) { cache.append(executor, sequence, key, value); }, Access::of(*this).cache);
}
void KeyValueCache::append(const Executor& executor, const ConstTensor& key, const ConstTensor& value) {
  std::visit([&](auto& cache) { cache.append(executor, key, value); }, Access::of(*this).cache);
}
void KeyValueCache::truncate(Index sequence, Index length) {
  std::visit([&](auto& cache) { cache.truncate(sequence, length); }, Access::of(*this).cache);
}
void KeyValueCache::copy_prefix(Index from, Index to, Index length) {
  std::visit([&](auto& cache) { cache.copy_prefix(from, to, length); }, Access::of(*this).cache);
}
Index KeyValueCache::sequences() const {
  return std::visit([](const auto& cache) { return cache.sequences(); }, Access::of(*this).cache);
}
Index KeyValueCache::length(Index sequence) const {
  return std::visit([&](const auto& cache) { return cache.length(sequence); }, Access::of(*this).cache);
}
Index KeyValueCache::capacity() const {
  return std::visit([](const auto& cache) { return cache.capacity(); }, Access::of(*this).cache);
}
Index KeyValueCache::bytes() const {
  return std::visit([](const auto& cache) { return cache.bytes(); }, Access::of(*this).cache);
}

PagedCache::PagedCache(Implementation* implementation) : implementation_(implementation) {}
PagedCache::~PagedCache() { delete implementation_; }
PagedCache::PagedCache(PagedCache&& other) noexcept : implementation_(std::exchange(other.implementation_, nullptr)) {}
PagedCache& PagedCache::operator=(PagedCache&& other) noexcept {
  std::swap(implementation_, other.implementation_);
  return *this;
}

void PagedCache::set_key_offset(const ConstTensor& offset) {
  std::visit([&](auto& cache) { cache.set_key_offset(offset); }, Access::of(*this).cache);
}
Index PagedCache::add() {
  return std::visit([](auto& cache) { return cache.add(); }, Access::of(*this).cache);
}
Index PagedCache::fork(Index sequence) {
  return std::visit([&](auto& cache) { return cache.fork(sequence); }, Access::of(*this).cache);
}
void PagedCache::truncate(Index sequence, Index length) {
  std::visit([&](auto& cache) { cache.truncate(sequence, length); }, Access::of(*this).cache);
}
void PagedCache::remove(Index sequence) {
  std::visit([&](auto& cache) { cache.remove(sequence); }, Access::of(*this).cache);
}
void PagedCache::append(const Executor& executor, Index sequence, const ConstTensor& key, const ConstTensor& value) {
  std::visit([&](auto& cache) { cache.append(executor, sequence, key, value); }, Access::of(*this).cache);
}
Index PagedCache::length(Index sequence) const {
  return std::visit([&](const auto& cache) { return cache.length(sequence); }, Access::of(*this).cache);
}
Index PagedCache::blocks() const {
  return std::visit([](const auto& cache) { return cache.pool().blocks(); }, Access::of(*this).cache);
}
Index PagedCache::free_blocks() const {
  return std::visit([](const auto& cache) { return cache.pool().free_blocks(); }, Access::of(*this).cache);
}
Index PagedCache::block_size() const {
  return std::visit([](const auto& cache) { return cache.pool().block_size(); }, Access::of(*this).cache);
}
Index PagedCache::bytes() const {
  return std::visit([](const auto& cache) { return cache.pool().bytes(); }, Access::of(*this).cache);
}

}  // namespace dca::compiled
