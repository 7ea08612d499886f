// dca_golden FOLDER: every way to compute Dual Chunk Attention against golden results.
#include <CLI/CLI.hpp>
#include <cmath>
#include <exception>
#include <iostream>
#include <limits>

#include "golden_runner/report.hpp"
#include "golden_runner/storages.hpp"

namespace {

using namespace dca_test;

struct Selection {
  std::string folder, scalar, path, kv_type;
};

template <class T>
void run_paths(const GoldenCase& golden, const std::string& scalar, const Selection& selection, GoldenReport& report) {
  if (!selection.scalar.empty() && selection.scalar != scalar) return;
  const Path<T> paths[] = {{"operator", operator_path<T>},
                           {"functors", functors_path<T>},
                           {"split", split_path<T>},
                           {"layouts", layouts_path<T>},
                           {"threads", threads_path<T>}};
  if (!(golden.magnitudes().largest_logit < static_cast<double>(std::numeric_limits<T>::max()) / 16)) {
    std::cout << "--   " << golden.parameters.name << ' ' << scalar << ": left out, its logits overflow\n";
    return;
  }
  const auto run = [&](const Path<T>& path, const std::string& label, const StorageError& storage) {
    if (!selection.path.empty() && selection.path != path.name) return;
    try {
      report.check(golden, label, path.run(GoldenProblem<T>(golden)), storage);
    } catch (const std::exception& error) {
      report.fail(golden.parameters.name + " " + scalar + " " + label, error.what());
    }
  };
  if (selection.kv_type.empty()) {
    for (const Path<T>& path : paths) run(path, path.name, {});
  }
  for (const Storage<T>& storage : storages<T>) {
    if (selection.kv_type != storage.name) continue;
    const GoldenParameters& p = golden.parameters;
    if (!stores(storage.type, p.head_dim) || !stores(storage.type, p.v_head_dim)) {
      std::cout << "--   " << p.name << ' ' << scalar << ": left out, int4 takes whole groups of 32 features\n";
      continue;
    }
    for (const Path<T>& path : storage.paths) {
      const std::string label = std::string(path.name) + (selection.kv_type.empty() ? "" : " " + selection.kv_type);
      run(path, label, storage_error(storage.type, golden));
    }
    if (!selection.path.empty() && selection.path != "compiled") continue;
    const std::string label = std::string("compiled") + (selection.kv_type.empty() ? "" : " " + selection.kv_type);
    try {
      const GoldenProblem<T> problem(golden);
      report.check(golden, label, compiled_path(problem, storage.type, storage.paths[0].run(problem).front()),
                   storage_error(storage.type, golden));
    } catch (const std::exception& error) {
      report.fail(p.name + " " + scalar + " " + label, error.what());
    }
  }
}

bool run_folder(const Selection& selection) {
  GoldenReport report(std::cout);
  for (const GoldenParameters& parameters : read_golden_table(selection.folder)) {
    try {
      const GoldenCase golden = read_golden_case(selection.folder, parameters);
      run_paths<float>(golden, "float", selection, report);
      run_paths<double>(golden, "double", selection, report);
    } catch (const std::exception& error) {
      report.fail(parameters.name, error.what());
    }
  }
  return report.finish();
}

}  // namespace

int main(int argc, char** argv) {
  Selection selection;
  CLI::App app{"Checks out and lse of every golden case in FOLDER, one line per case, scalar and path."};
  app.add_option("folder", selection.folder, "Folder with cases.csv and a folder of .npy files per case")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--scalar", selection.scalar, "Only this scalar type; default both")
      ->check(CLI::IsMember({"float", "double"}));
  app.add_option("--path", selection.path, "Only this way of computing; default all")
      ->check(CLI::IsMember({"operator", "functors", "split", "layouts", "threads", "cached", "chunked", "decode",
                             "paged", "ragged", "compiled"}));
  app.add_option("--kv-type", selection.kv_type, "Only paths through caches, with keys and values stored so")
      ->check(CLI::IsMember({"half", "bfloat16", "int8", "int4"}));
  CLI11_PARSE(app, argc, argv);
  try {
    return run_folder(selection) ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "dca_golden: " << error.what() << '\n';
    return 1;
  }
}
