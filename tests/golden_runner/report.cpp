#include "golden_runner/report.hpp"

#include <iomanip>
#include <ostream>

namespace dca_test {

template <class T>
void GoldenReport::check(const GoldenCase& golden, const std::string& path,
                         const std::vector<GoldenOutputs<T>>& outputs, const StorageError& storage) {
  const Magnitudes magnitudes = golden.magnitudes();
  const double out_limit = out_bound<T>(magnitudes, largest_finite(golden.out), storage);
  const double lse_limit = lse_bound<T>(magnitudes, largest_finite(golden.lse), storage);
  double out_error = 0, lse_error = 0;
  std::string failing;
  for (const GoldenOutputs<T>& output : outputs) {
    const double out_here = largest_error(output.out, golden.out), lse_here = largest_error(output.lse, golden.lse);
    if (!(out_here <= out_limit && lse_here <= lse_limit)) failing += " [" + output.variant + "]";
    out_error = std::max(out_error, out_here);
    lse_error = std::max(lse_error, lse_here);
  }
  const bool good = failing.empty() && !outputs.empty();
  ++(good ? passed_ : failed_);
  stream_ << (good ? "ok   " : "FAIL ") << std::left << std::setw(34) << golden.parameters.name << ' ' << std::setw(6)
          << (sizeof(T) == sizeof(float) ? "float" : "double") << ' ' << std::setw(16) << path << std::scientific
          << std::setprecision(1) << "  out error " << out_error << " bound " << out_limit << "  lse error " << lse_error
          << " bound " << lse_limit;
  if (weight_bound<T>(magnitudes) > weight_bound<T>({})) stream_ << "  raised for logits to " << magnitudes.largest_logit;
  stream_ << failing << '\n';
}

void GoldenReport::fail(const std::string& what, const std::string& why) {
  ++failed_;
  stream_ << "FAIL " << what << ": " << why << '\n';
}

bool GoldenReport::finish() {
  if (passed_ + failed_ == 0) stream_ << "no case was run\n";
  stream_ << passed_ << " passed, " << failed_ << " failed" << std::endl;
  return passed_ > 0 && failed_ == 0;
}

template void GoldenReport::check(const GoldenCase&, const std::string&, const std::vector<GoldenOutputs<float>>&,
                                  const StorageError&);
template void GoldenReport::check(const GoldenCase&, const std::string&, const std::vector<GoldenOutputs<double>>&,
                                  const StorageError&);

}  // namespace dca_test
