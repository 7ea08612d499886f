// Handles that are not what they should be, and threads: of the library's, of the caller's, and many at once.
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "support.hpp"

using namespace dca_test;
using namespace dca_test::c;

namespace {

constexpr dca::ChunkConfig chunks{24, 8};
constexpr Index rotary_dim = 16;

/// Threads of a program's own, with a queue. Tasks are kept until `start` where they are `held`.
class Queue {
 public:
  explicit Queue(int threads, bool held = false) : held_(held) {
    for (int k = 0; k < threads; ++k) threads_.emplace_back([this] { work(); });
  }
  ~Queue() {
    {
      const std::lock_guard lock(mutex_);
      held_ = false;
      ended_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  dca_executor executor(int64_t threads) {
    dca_executor made = DCA_EXECUTOR_INIT;
    made.pool = this;
    made.threads = threads;
    made.schedule = [](void* pool, void (*run)(void*), void* argument) {
      static_cast<Queue*>(pool)->add([run, argument] { run(argument); });
      return 1;
    };
    return made;
  }
  void add(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
  }
  int added() {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(tasks_.size()) + done_;
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return ended_ || (!held_ && !tasks_.empty()); });
      if (tasks_.empty()) return;
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      ++done_;
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  int done_ = 0;
  bool held_, ended_ = false;
  std::vector<std::thread> threads_;
};

ThreadsHandle threads_of(const dca_executor& executor) {
  dca_threads* made = nullptr;
  ok(dca_threads_create_from_executor(&executor, &made));
  return ThreadsHandle(made);
}

ThreadsHandle own_threads(int64_t count) {
  dca_threads* made = nullptr;
  ok(dca_threads_create(count, &made));
  return ThreadsHandle(made);
}

void check_refused(dca_status status, const std::string& message) {
  CHECK(status == DCA_INVALID_ARGUMENT);
  CHECK(std::string(dca_last_error()) == message);
}

Inputs<float> problem() {
  Random random;
  return Inputs<float>({2, 40, 90, 4, 2, 16, 16}, random);
}

}  // namespace

TEST_CASE("C: NULL, other handles, destroyed ones and no handles are refused") {
  int64_t number = -7;
  check_refused(dca_cache_bytes(nullptr, &number),
                "dca: cache: NULL; must be a dca_cache that was made and not destroyed");
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  check_refused(dca_cache_bytes(reinterpret_cast<dca_cache*>(attention.get()), &number),
                "dca: cache: dca_attention; must be a dca_cache");
  check_refused(dca_workspace_bytes(reinterpret_cast<dca_workspace*>(&number), &number),
                "dca: workspace: no handle in use; must be a dca_workspace that was made and not destroyed");
  dca_workspace* workspace = nullptr;
  ok(dca_workspace_create(&workspace));
  ok(dca_workspace_destroy(workspace));
  const std::string gone = "dca: workspace: no handle in use; must be a dca_workspace that was made and not destroyed";
  check_refused(dca_workspace_bytes(workspace, &number), gone);
  check_refused(dca_workspace_destroy(workspace), gone);
  dca_workspace* next = nullptr;  // takes the place, but is another handle
  ok(dca_workspace_create(&next));
  CHECK(next != workspace);
  check_refused(dca_workspace_destroy(workspace), gone);
  ok(dca_workspace_bytes(next, &number));
  ok(dca_workspace_destroy(next));
  const AttentionHandle alive = make_attention<float>(chunks, rotary_dim);
  const dca_cache_config config = cache_config<float>({.kv_heads = 1});
  const float zeros[16] = {};
  const dca_const_tensor offset = read(dca::contiguous(zeros, {1, 16}));
  dca_cache* cache = nullptr;
  dca_paged_cache* paged = nullptr;
  dca_pool* pool = nullptr;
  ok(dca_cache_create(alive.get(), &config, 1, 1, 0, &cache));
  ok(dca_paged_cache_create(alive.get(), &config, 1, 1, &paged));
  ok(dca_pool_create(alive.get(), &config, 1, 1, &pool));
  ok(dca_cache_set_key_offset(cache, &offset));
  ok(dca_cache_destroy(cache));
  ok(dca_paged_cache_destroy(paged));
  ok(dca_pool_destroy(pool));
  check_refused(dca_cache_set_key_offset(cache, &offset),
                "dca: cache: no handle in use; must be a dca_cache that was made and not destroyed");
  check_refused(dca_paged_cache_set_key_offset(paged, &offset),
                "dca: cache: no handle in use; must be a dca_paged_cache that was made and not destroyed");
  check_refused(dca_pool_set_key_offset(pool, &offset),
                "dca: pool: no handle in use; must be a dca_pool that was made and not destroyed");
  check_refused(dca_attention_destroy(reinterpret_cast<dca_attention*>(next)),
                "dca: attention: no handle in use; must be a dca_attention that was made and not destroyed");
}

TEST_CASE("C: every function that takes a handle refuses one of another kind") {
  const Inputs<float> in = problem();
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  dca_choices* choices = nullptr;
  dca_workspace* workspace = nullptr;
  ok(dca_choices_create(&choices));
  ok(dca_workspace_create(&workspace));
  const ChoicesHandle keeps_choices(choices);
  const WorkspaceHandle keeps_workspace(workspace);
  auto* const no_attention = reinterpret_cast<dca_attention*>(choices);
  auto* const no_cache = reinterpret_cast<dca_cache*>(choices);
  auto* const no_paged = reinterpret_cast<dca_paged_cache*>(choices);
  auto* const no_pool = reinterpret_cast<dca_pool*>(choices);
  auto* const no_threads = reinterpret_cast<dca_threads*>(choices);
  auto* const no_choices = reinterpret_cast<dca_choices*>(workspace);
  auto* const no_workspace = reinterpret_cast<dca_workspace*>(choices);

  const dca_cache_config config = cache_config<float>(in.sizes);
  const dca_const_tensor query = tensor(in.operands().query), key = tensor(in.operands().key);
  Outputs<float> outputs(in);
  const dca_tensor out = tensor(outputs.out_view());
  dca_cache* cache = nullptr;
  dca_paged_cache* paged = nullptr;
  dca_pool* pool = nullptr;
  int64_t n = 0;
  float offset[32];
  dca_choice choice = DCA_CHOICE_INIT;
  dca_options with_workspace = DCA_OPTIONS_INIT, with_choices = DCA_OPTIONS_INIT;
  with_workspace.workspace = no_workspace;
  with_choices.chosen = no_choices;
  const dca_partial_state result{};
  const dca_const_partial_state state{};
  const dca_block_table table{};
  const dca_status statuses[] = {
      dca_attention_destroy(no_attention),
      dca_position_map(no_attention, 0, 0, 0, 0, nullptr),
      dca_estimate_key_offset(no_attention, &key, nullptr, offset, 32),
      dca_cache_create(no_attention, &config, 1, 1, 0, &cache),
      dca_paged_cache_create(no_attention, &config, 1, 1, &paged),
      dca_pool_create(no_attention, &config, 1, 1, &pool),
      dca_attend(no_attention, nullptr, &query, &key, &key, &out, nullptr),
      dca_attend(attention.get(), no_threads, &query, &key, &key, &out, nullptr),
      dca_attend(attention.get(), nullptr, &query, &key, &key, &out, &with_workspace),
      dca_attend(attention.get(), nullptr, &query, &key, &key, &out, &with_choices),
      dca_attend_cache(no_attention, nullptr, &query, nullptr, &out, nullptr),
      dca_attend_cache(attention.get(), nullptr, &query, no_cache, &out, nullptr),
      dca_attend_paged_cache(no_attention, nullptr, &query, nullptr, &out, nullptr),
      dca_attend_paged_cache(attention.get(), nullptr, &query, no_paged, &out, nullptr),
      dca_attend_pool(no_attention, nullptr, &query, nullptr, &table, 1, &out, nullptr),
      dca_attend_pool(attention.get(), nullptr, &query, no_pool, &table, 1, &out, nullptr),
      dca_merge(no_threads, &state, 1, &result, nullptr),
      dca_cache_destroy(no_cache),
      dca_cache_set_key_offset(no_cache, &key),
      dca_cache_append(no_cache, nullptr, 0, &key, &key),
      dca_cache_append_all(no_cache, nullptr, &key, &key),
      dca_cache_truncate(no_cache, 0, 0),
      dca_cache_copy_prefix(no_cache, 0, 1, 0),
      dca_cache_sequences(no_cache, &n),
      dca_cache_length(no_cache, 0, &n),
      dca_cache_capacity(no_cache, &n),
      dca_cache_bytes(no_cache, &n),
      dca_paged_cache_destroy(no_paged),
      dca_paged_cache_set_key_offset(no_paged, &key),
      dca_paged_cache_add(no_paged, &n),
      dca_paged_cache_fork(no_paged, 0, &n),
      dca_paged_cache_truncate(no_paged, 0, 0),
      dca_paged_cache_remove(no_paged, 0),
      dca_paged_cache_append(no_paged, nullptr, 0, &key, &key),
      dca_paged_cache_length(no_paged, 0, &n),
      dca_paged_cache_blocks(no_paged, &n),
      dca_paged_cache_free_blocks(no_paged, &n),
      dca_paged_cache_block_size(no_paged, &n),
      dca_paged_cache_bytes(no_paged, &n),
      dca_pool_destroy(no_pool),
      dca_pool_set_key_offset(no_pool, &key),
      dca_pool_take(no_pool, &n),
      dca_pool_share(no_pool, 0),
      dca_pool_give_back(no_pool, 0),
      dca_pool_users(no_pool, 0, &n),
      dca_pool_append(no_pool, nullptr, &table, 1, &key, &key),
      dca_pool_copy_tokens(no_pool, 0, 1, 0),
      dca_pool_copy_tokens_from(no_pool, nullptr, 0, 1, 0),
      dca_pool_blocks(no_pool, &n),
      dca_pool_free_blocks(no_pool, &n),
      dca_pool_block_size(no_pool, &n),
      dca_pool_bytes(no_pool, &n),
      dca_threads_destroy(no_threads),
      dca_workspace_destroy(no_workspace),
      dca_workspace_bytes(no_workspace, &n),
      dca_choices_destroy(no_choices),
      dca_choices_size(no_choices, &n),
      dca_choices_get(no_choices, 0, &choice),
      dca_choices_clear(no_choices),
  };
  for (const dca_status status : statuses) CHECK(status == DCA_INVALID_ARGUMENT);
  CHECK((cache == nullptr && paged == nullptr && pool == nullptr));
}

TEST_CASE("C: NULL in the place of anything else is refused, and taken where a handle is destroyed") {
  const Inputs<float> in = problem();
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  const dca_cache_config config = cache_config<float>(in.sizes);
  const dca_attention_config attention_config = DCA_ATTENTION_CONFIG_INIT;
  const dca_executor executor = DCA_EXECUTOR_INIT;
  const dca_const_tensor x = tensor(in.operands().query), y = tensor(in.operands().key);
  Outputs<float> outputs(in);
  const dca_tensor out = tensor(outputs.out_view());
  dca_cache* cache = nullptr;
  ok(dca_cache_create(attention.get(), &config, 2, 90, 0, &cache));
  const CacheHandle keeps(cache);
  dca_paged_cache* paged = nullptr;
  dca_pool* pool = nullptr;
  ok(dca_paged_cache_create(attention.get(), &config, 2, 9, &paged));
  ok(dca_pool_create(attention.get(), &config, 2, 9, &pool));
  const PagedCacheHandle keeps_paged(paged);
  const PoolHandle keeps_pool(pool);
  float offset[32];
  dca_attention* made = nullptr;
  dca_threads* threads = nullptr;
  const dca_status statuses[] = {
      dca_attention_create(nullptr, &made),
      dca_attention_create(&attention_config, nullptr),
      dca_threads_create(1, nullptr),
      dca_threads_create_from_executor(nullptr, &threads),
      dca_threads_create_from_executor(&executor, nullptr),
      dca_workspace_create(nullptr),
      dca_choices_create(nullptr),
      dca_cache_create(attention.get(), nullptr, 1, 1, 0, &cache),
      dca_cache_create(attention.get(), &config, 1, 1, 0, nullptr),
      dca_paged_cache_create(attention.get(), &config, 1, 1, nullptr),
      dca_pool_create(attention.get(), &config, 1, 1, nullptr),
      dca_kernels_in_use(nullptr),
      dca_cache_bytes(keeps.get(), nullptr),
      dca_estimate_key_offset(nullptr, &y, nullptr, offset, 32),
      dca_estimate_key_offset(attention.get(), nullptr, nullptr, offset, 32),
      dca_estimate_key_offset(attention.get(), &y, nullptr, nullptr, 32),
      dca_estimate_key_offset(attention.get(), &y, nullptr, nullptr, 0),
      dca_cache_set_key_offset(nullptr, &y),
      dca_cache_set_key_offset(keeps.get(), nullptr),
      dca_paged_cache_set_key_offset(nullptr, &y),
      dca_paged_cache_set_key_offset(paged, nullptr),
      dca_pool_set_key_offset(nullptr, &y),
      dca_pool_set_key_offset(pool, nullptr),
      dca_cache_append(keeps.get(), nullptr, 0, nullptr, &y),
      dca_cache_append(keeps.get(), nullptr, 0, &y, nullptr),
      dca_cache_append_all(keeps.get(), nullptr, nullptr, &y),
      dca_attend(nullptr, nullptr, &x, &y, &y, &out, nullptr),
      dca_attend(attention.get(), nullptr, nullptr, &y, &y, &out, nullptr),
      dca_attend(attention.get(), nullptr, &x, nullptr, &y, &out, nullptr),
      dca_attend(attention.get(), nullptr, &x, &y, nullptr, &out, nullptr),
      dca_attend(attention.get(), nullptr, &x, &y, &y, nullptr, nullptr),
      dca_attend_cache(attention.get(), nullptr, nullptr, keeps.get(), &out, nullptr),
      dca_attend_cache(attention.get(), nullptr, &x, nullptr, &out, nullptr),
      dca_attend_cache(attention.get(), nullptr, &x, keeps.get(), nullptr, nullptr),
      dca_attend_paged_cache(attention.get(), nullptr, &x, nullptr, &out, nullptr),
      dca_attend_pool(attention.get(), nullptr, &x, nullptr, nullptr, 0, &out, nullptr),
  };
  for (const dca_status status : statuses) CHECK(status == DCA_INVALID_ARGUMENT);
  CHECK((made == nullptr && threads == nullptr && cache == nullptr));
  ok(dca_attention_destroy(nullptr));
  ok(dca_cache_destroy(nullptr));
  ok(dca_paged_cache_destroy(nullptr));
  ok(dca_pool_destroy(nullptr));
  ok(dca_threads_destroy(nullptr));
  ok(dca_workspace_destroy(nullptr));
  ok(dca_choices_destroy(nullptr));
}

TEST_CASE("C: threads that cannot be are refused") {
  dca_threads* made = nullptr;
  check_refused(dca_threads_create(0, &made), "dca: threads: 0; must be from 1 to 4096");
  check_refused(dca_threads_create(4097, &made), "dca: threads: 4097; must be from 1 to 4096");
  dca_executor executor = DCA_EXECUTOR_INIT;
  check_refused(dca_threads_create_from_executor(&executor, &made), "dca: threads: 0; must be from 1 to 4096");
  executor.threads = 2;
  check_refused(dca_threads_create_from_executor(&executor, &made), "dca: schedule: NULL; must be a function");
  CHECK(made == nullptr);
}

TEST_CASE("C: threads of the library's and of the caller's give the same bits") {
  const Inputs<float> in = problem();
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  const Outputs<float> expected = run_dense(attention, in, DCA_OPTIONS_INIT);
  for (const int64_t count : {1, 2, 5}) {
    CHECK(same_bits(run_dense(attention, in, DCA_OPTIONS_INIT, own_threads(count).get()), expected));
  }
  Queue queue(2);
  CHECK(same_bits(run_dense(attention, in, DCA_OPTIONS_INIT, threads_of(queue.executor(3)).get()), expected));
  CHECK(queue.added() > 0);

  dca_executor refusing = DCA_EXECUTOR_INIT;
  refusing.threads = 4;
  refusing.schedule = [](void*, void (*)(void*), void*) { return 0; };
  CHECK(same_bits(run_dense(attention, in, DCA_OPTIONS_INIT, threads_of(refusing).get()), expected));
}

TEST_CASE("C: a call does not wait for tasks that have not begun, and they may run after it") {
  const Inputs<float> in = problem();
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  const Outputs<float> expected = run_dense(attention, in, DCA_OPTIONS_INIT);
  Queue queue(1, true);
  CHECK(same_bits(run_dense(attention, in, DCA_OPTIONS_INIT, threads_of(queue.executor(4)).get()), expected));
  CHECK(queue.added() > 0);
}

TEST_CASE("C: calls from threads of the pool that they use") {
  const Inputs<float> in = problem();
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  const Outputs<float> expected = run_dense(attention, in, DCA_OPTIONS_INIT);
  std::atomic<int> right{0};
  {
    Queue queue(2);
    const ThreadsHandle threads = threads_of(queue.executor(3));
    for (int k = 0; k < 4; ++k) {
      queue.add([&] {
        if (same_bits(run_dense(attention, in, DCA_OPTIONS_INIT, threads.get()), expected)) ++right;
      });
    }
    while (right < 4) std::this_thread::yield();
  }
  CHECK(right == 4);
}

TEST_CASE("C: many threads make, use and destroy handles, and each has its own last error") {
  const Inputs<float> in = problem();
  const AttentionHandle attention = make_attention<float>(chunks, rotary_dim);
  const ThreadsHandle threads = own_threads(2);
  const Outputs<float> expected = run_dense(attention, in, DCA_OPTIONS_INIT);
  std::atomic<int> wrong{0};
  const auto work = [&](Index caller) {
    for (int k = 0; k < 200; ++k) {
      dca_workspace* workspace = nullptr;
      dca_choices* choices = nullptr;
      int64_t number = 0;
      if (dca_workspace_create(&workspace) != DCA_OK || dca_choices_create(&choices) != DCA_OK) ++wrong;
      if (k % 50 == 0 && !same_bits(run_dense(attention, in, DCA_OPTIONS_INIT, threads.get()), expected)) ++wrong;
      if (dca_workspace_bytes(workspace, &number) != DCA_OK) ++wrong;
      if (dca_workspace_destroy(workspace) != DCA_OK || dca_choices_destroy(choices) != DCA_OK) ++wrong;
      if (dca_workspace_bytes(workspace, &number) != DCA_INVALID_ARGUMENT) ++wrong;
      dca_threads* none = nullptr;
      if (dca_threads_create(5000 + caller, &none) != DCA_INVALID_ARGUMENT) ++wrong;
      if (std::string(dca_last_error()).find(std::to_string(5000 + caller)) == std::string::npos) ++wrong;
    }
  };
  std::vector<std::thread> callers;
  for (Index caller = 0; caller < 4; ++caller) callers.emplace_back(work, caller);
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
  std::string fresh = "something";
  std::thread([&] { fresh = dca_last_error(); }).join();
  CHECK(fresh.empty());
}

TEST_CASE("C: one of several threads that destroy a handle does it") {
  for (int again = 0; again < 50; ++again) {
    dca_choices* choices = nullptr;
    ok(dca_choices_create(&choices));
    std::atomic<int> done{0};
    std::vector<std::thread> callers;
    for (int k = 0; k < 3; ++k) {
      callers.emplace_back([&] { done += dca_choices_destroy(choices) == DCA_OK ? 1 : 0; });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(done == 1);
  }
}

TEST_CASE("C: thousands of handles at once") {
  std::vector<dca_choices*> all(10000);
  for (dca_choices*& one : all) ok(dca_choices_create(&one));
  int64_t size = 0;
  for (dca_choices* const one : all) ok(dca_choices_size(one, &size));
  std::sort(all.begin(), all.end());
  CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
  for (dca_choices* const one : all) ok(dca_choices_destroy(one));
  for (dca_choices* const one : all) CHECK(dca_choices_size(one, &size) == DCA_INVALID_ARGUMENT);
}
