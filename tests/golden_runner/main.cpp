// dca_golden FOLDER: every way to compute Dual Chunk Attention against golden results.
#include <CLI/CLI.hpp>
#include <cmath>
#include <exception>
#include <iostream>
#include <limits>

#include "golden_runner/report.hpp"

namespace {

using namespace dca_test;

struct Selection {
  std::string folder, scalar, path;
};

template <class T>
struct Path {
  const char* name;
  std::vector<GoldenOutputs<T>> (*run)(const GoldenProblem<T>&);
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
  for (const Path<T>& path : paths) {
    if (!selection.path.empty() && selection.path != path.name) continue;
    try {
      report.check(golden, path.name, path.run(GoldenProblem<T>(golden)));
    } catch (const std::exception& error) {
      report.fail(golden.parameters.name + " " + scalar + " " + path.name, error.what());
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
      ->check(CLI::IsMember({"operator", "functors", "split", "layouts", "threads"}));
  CLI11_PARSE(app, argc, argv);
  try {
    return run_folder(selection) ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "dca_golden: " << error.what() << '\n';
    return 1;
  }
}
