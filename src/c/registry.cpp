#include "registry.hpp"

#include <atomic>
#include <mutex>
#include <new>

namespace dca::c {
namespace {

// A handle number, from its lowest bit on: place in the table, serial number, kind.
constexpr int place_bits = 24, serial_bits = 36;
constexpr HandleNumber place_mask = (HandleNumber{1} << place_bits) - 1;
constexpr HandleNumber serial_mask = (HandleNumber{1} << serial_bits) - 1;

constexpr Kind kind_of(HandleNumber handle) { return static_cast<Kind>(handle >> (place_bits + serial_bits)); }

const char* name_of(Kind kind) {
  constexpr const char* names[] = {"",         "dca_attention", "dca_cache",     "dca_paged_cache",
                                   "dca_pool", "dca_threads",   "dca_workspace", "dca_choices"};
  return names[static_cast<std::size_t>(kind)];
}

struct Slot {
  std::atomic<HandleNumber> handle{0};  // 0: free
  std::atomic<void*> object{nullptr};
  HandleNumber next_free = 0;  // place + 1; 0: none
};

constexpr HandleNumber block_size = 4096, block_count = (place_mask + 1) / block_size;

/// Slots are found without a lock, and handed out under one. Without a destructor: handles may be destroyed by those of
/// a program's static objects.
struct Table {
  std::mutex mutex;
  HandleNumber handles_made = 0;
  HandleNumber slots_used = 0;  // that were ever handed out
  HandleNumber first_free = 0;  // place + 1; 0: none
  HandleNumber in_use = 0;
  std::atomic<Slot*> blocks[block_count];

  /// The slot of a handle that is in use; null for any other number.
  Slot* find(HandleNumber handle) const {
    const HandleNumber place = handle & place_mask;
    Slot* const block = blocks[place / block_size].load(std::memory_order_acquire);
    if (block == nullptr || handle == 0) return nullptr;
    Slot* const slot = block + place % block_size;
    return slot->handle.load(std::memory_order_acquire) == handle ? slot : nullptr;
  }

  HandleNumber enter(Kind kind, void* object) {
    const std::lock_guard lock(mutex);
    const HandleNumber place = free_place();
    Slot& slot = at(place);
    slot.object.store(object, std::memory_order_relaxed);
    const HandleNumber serial = ++handles_made & serial_mask;
    const HandleNumber handle =
        static_cast<HandleNumber>(kind) << (place_bits + serial_bits) | serial << place_bits | place;
    slot.handle.store(handle, std::memory_order_release);
    ++in_use;
    return handle;
  }

  void free(HandleNumber place) {
    const std::lock_guard lock(mutex);
    at(place).next_free = first_free;
    first_free = place + 1;
    --in_use;
  }

  /// Gives memory back that no handle needs: when the library is unloaded.
  void trim() {
    const std::lock_guard lock(mutex);
    if (in_use > 0) return;
    slots_used = first_free = 0;
    for (std::atomic<Slot*>& block : blocks) delete[] block.exchange(nullptr);
  }

 private:
  Slot& at(HandleNumber place) { return blocks[place / block_size].load()[place % block_size]; }

  HandleNumber free_place() {
    if (first_free != 0) {
      const HandleNumber place = first_free - 1;
      first_free = at(place).next_free;
      return place;
    }
    if (slots_used > place_mask) throw std::bad_alloc();
    std::atomic<Slot*>& block = blocks[slots_used / block_size];
    if (block.load() == nullptr) block.store(new Slot[block_size], std::memory_order_release);
    return slots_used++;
  }
};

constinit Table table;

struct TrimAtEnd {
  ~TrimAtEnd() { table.trim(); }
} trim_at_end;

Slot* slot_of(const char* argument, Kind kind, HandleNumber handle) {
  Slot* const slot = table.find(handle);
  if (slot == nullptr) {
    fail(argument, handle == 0 ? "NULL" : "no handle in use",
         Text("must be a ") + name_of(kind) + " that was made and not destroyed");
  }
  if (kind_of(handle) != kind) fail(argument, name_of(kind_of(handle)), Text("must be a ") + name_of(kind));
  return slot;
}

}  // namespace

HandleNumber enter(Kind kind, void* object) { return table.enter(kind, object); }

void* look_up(const char* argument, Kind kind, HandleNumber handle) {
  return slot_of(argument, kind, handle)->object.load(std::memory_order_relaxed);
}

void* take_out(const char* argument, Kind kind, HandleNumber handle) {
  Slot* const slot = slot_of(argument, kind, handle);
  HandleNumber expected = handle;
  if (!slot->handle.compare_exchange_strong(expected, 0)) return take_out(argument, kind, handle);  // refuses it
  void* const object = slot->object.load(std::memory_order_relaxed);
  table.free(handle & place_mask);
  return object;
}

}  // namespace dca::c
