// Structs that grow: programs and libraries of different versions.
#include "structs.hpp"

#include "support.hpp"

using namespace dca_test;
using namespace dca_test::c;

namespace {

/// A struct of a program that was compiled with a later header.
template <class Struct>
struct Later {
  Struct known;
  unsigned char more[24] = {};

  explicit Later(const Struct& now) : known(now) { known.struct_size = sizeof *this; }
};

/// `call` takes the struct in the sizes that it may have, and in no other.
template <class Struct, class Call>
void check_sizes(const char* name, const Struct& now, const Call& call) {
  INFO(name);
  Later<Struct> later(now);
  ok(call(&later.known));
  CHECK(later.known.struct_size == sizeof later);
  Struct changed = now;
  for (const std::size_t bad :
       {std::size_t{0}, std::size_t{8}, sizeof(Struct) - 8, sizeof(Struct) - 1, std::size_t{4097}, ~std::size_t{0}}) {
    changed.struct_size = bad;
    CHECK(call(&changed) == DCA_INVALID_ARGUMENT);
    CHECK_THAT(std::string(dca_last_error()), contains(std::string("dca: ") + name + ": struct_size"));
  }
}

/// As check_sizes, for one that is read: what a later program asks for must not be ignored.
template <class Struct, class Call>
void check_read(const char* name, const Struct& now, const Call& call) {
  check_sizes(name, now, call);
  Later<Struct> later(now);
  for (unsigned char& byte : {std::ref(later.more[0]), std::ref(later.more[23])}) {
    byte = 1;
    CHECK(call(&later.known) == DCA_INVALID_ARGUMENT);
    CHECK_THAT(std::string(dca_last_error()),
               contains("with fields that this library does not know; such fields must be 0"));
    byte = 0;
  }
  ok(call(&later.known));
}

constexpr dca::ChunkConfig chunks{24, 8};

}  // namespace

TEST_CASE("C: structs of later headers are taken where what they add is 0, and of no other size") {
  Random random;
  const Inputs<float> in({1, 5, 20, 4, 2, 16, 16}, random);
  Config config(chunks, 16, DCA_FLOAT32);
  const auto make = [&](const dca_attention_config* with) {
    dca_attention* made = nullptr;
    const dca_status status = dca_attention_create(with, &made);
    CHECK((made == nullptr) == (status != DCA_OK));
    dca_attention_destroy(made);
    return status;
  };
  check_read("config", config.attention, make);
  check_read("rope", config.rope, [&](const dca_rope_config* rope) {
    dca_attention_config with = config.attention;
    with.rope = rope;
    return make(&with);
  });
  const dca_part part{[](const void*, int64_t i) { return i; }, [](const void*, int64_t j) { return j; },
                      [](const void*, int64_t, int64_t, dca_key_range*) {}};
  dca_own_parts own = DCA_OWN_PARTS_INIT;
  own.parts = &part;
  own.part_count = 1;
  check_read("own_parts", own, [&](const dca_own_parts* parts) {
    dca_attention_config with = config.attention;
    with.own_parts = parts;
    return make(&with);
  });
  const AttentionHandle attention = config.make();
  check_read("config", cache_config<float>(in.sizes), [&](const dca_cache_config* with) {
    dca_cache* made = nullptr;
    const dca_status status = dca_cache_create(attention.get(), with, 1, 8, 0, &made);
    dca_cache_destroy(made);
    return status;
  });
  const dca_const_tensor some_keys = tensor(in.operands().key);
  check_read("options", dca_key_offset_options DCA_KEY_OFFSET_OPTIONS_INIT, [&](const dca_key_offset_options* with) {
    float offset[32];
    return dca_estimate_key_offset(attention.get(), &some_keys, with, offset, 32);
  });
  dca_executor executor = DCA_EXECUTOR_INIT;
  executor.threads = 1;
  executor.schedule = [](void*, void (*)(void*), void*) { return 0; };
  check_read("executor", executor, [](const dca_executor* with) {
    dca_threads* made = nullptr;
    const dca_status status = dca_threads_create_from_executor(with, &made);
    dca_threads_destroy(made);
    return status;
  });

  Outputs<float> outputs(in);
  const dca_const_tensor query = tensor(in.operands().query), key = tensor(in.operands().key),
                         value = tensor(in.operands().value);
  const dca_tensor out = tensor(outputs.out_view());
  const auto attend = [&](const dca_options* options) {
    return dca_attend(attention.get(), nullptr, &query, &key, &value, &out, options);
  };
  dca_options options = DCA_OPTIONS_INIT;
  check_read("options", options, attend);
  dca_choices* choices = nullptr;
  ok(dca_choices_create(&choices));
  const ChoicesHandle keeps(choices);
  dca_selection selection = DCA_SELECTION_INIT;
  selection.policy = DCA_POLICY_FIRST_AND_RECENT;
  selection.recent = 0;
  check_read("selection", selection, [&](const dca_selection* with) {
    options.selection = with;
    return attend(&options);
  });
}

TEST_CASE("C: structs that are written keep their size, and what later headers add") {
  const auto check = [](const char* name, const auto& now, const auto& call) {
    check_sizes(name, now, call);
    Later later(now);
    std::fill(std::begin(later.more), std::end(later.more), static_cast<unsigned char>(7));
    ok(call(&later.known));
    CHECK(std::count(std::begin(later.more), std::end(later.more), 7) == 24);
  };
  const dca_kernels kernels = DCA_KERNELS_INIT;
  check("kernels", kernels, [](dca_kernels* to) { return dca_kernels_in_use(to); });

  Random random;
  const Inputs<float> in({1, 40, 200, 4, 2, 16, 16}, random);
  dca_choices* choices = nullptr;
  ok(dca_choices_create(&choices));
  const ChoicesHandle keeps(choices);
  dca_selection selection = DCA_SELECTION_INIT;
  selection.policy = DCA_POLICY_FIRST_AND_RECENT;
  selection.recent = 8;
  dca_options options = DCA_OPTIONS_INIT;
  options.selection = &selection;
  options.chosen = choices;
  run_dense(make_attention<float>(chunks, 16), in, options);
  const dca_choice choice = DCA_CHOICE_INIT;
  check("choice", choice, [&](dca_choice* to) { return dca_choices_get(choices, 0, to); });
}

TEST_CASE("C: a struct of an earlier header gets the defaults of what it does not have") {
  // Three versions of a struct: 16, 24 and 40 bytes.
  struct Fields {
    std::size_t struct_size = 40;
    std::int64_t a = 1, b = 2, c = 3, d = 4;
  };
  const std::size_t known[] = {16, 24, 40};
  for (const std::size_t size : known) {
    const Fields given[2]{{size, 10, 20, 30, 40}};
    Fields read;
    dca::c::read_fields("fields", given, known, &read);
    CHECK(read.a == 10);
    CHECK(read.b == (size >= 24 ? 20 : 2));
    CHECK(read.c == (size >= 40 ? 30 : 3));
    CHECK(read.d == (size >= 40 ? 40 : 4));
  }
  for (const std::size_t size : {std::size_t{8}, std::size_t{32}, std::size_t{39}}) {
    const Fields given[2]{{size, 10, 20, 30, 40}};
    Fields read;
    CHECK_THROWS_AS(dca::c::read_fields("fields", given, known, &read), std::invalid_argument);
  }
}
