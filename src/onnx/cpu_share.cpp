#include "onnx/cpu_share.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "base/sys.h"

namespace thaw::onnx {
namespace {

constexpr unsigned long kMilliMax = 1'000'000;

unsigned long parse_number(std::string_view text) {
  unsigned long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || (end != text.data() + text.size() && *end != '\n')) return 0;
  return value;
}

unsigned long number_in(const std::string& path) {
  const auto text = sys::read_file(path, 4096);
  return text.ok() ? parse_number(*text) : 0;
}

unsigned cpus_allowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
}

}  // namespace

unsigned long cgroup_cpu_milli(const std::string& root) {
  // v2: "QUOTA PERIOD" or "max PERIOD" (cgroup-v2.rst); v1: a quota of -1 is none (sched-bwc.rst).
  if (const auto text = sys::read_file(root + "/cpu.max", 4096); text.ok()) {
    const std::size_t space = text->find(' ');
    if (space == std::string::npos) return 0;
    const unsigned long quota = parse_number(std::string_view(*text).substr(0, space));
    const unsigned long period = parse_number(std::string_view(*text).substr(space + 1));
    return period == 0 ? 0 : quota * 1000 / period;
  }
  const unsigned long quota = number_in(root + "/cpu/cpu.cfs_quota_us");
  const unsigned long period = number_in(root + "/cpu/cpu.cfs_period_us");
  return period == 0 ? 0 : quota * 1000 / period;
}

Result<CpuShare> detect_cpu_share() {
  const unsigned cpus = cpus_allowed();
  unsigned long milli = 0;
  if (const char* text = std::getenv("THAW_CPU_MILLI"); text != nullptr) {
    milli = parse_number(text);
    if (milli == 0 || milli > kMilliMax) return invalid_argument("THAW_CPU_MILLI must be a number from 1 to 1000000");
  } else {
    milli = cgroup_cpu_milli("/sys/fs/cgroup");
  }
  if (milli == 0) return CpuShare{cpus, false};
  const auto whole = static_cast<unsigned>(std::min<unsigned long>((milli + 999) / 1000, cpus));
  return CpuShare{std::max(1U, whole), true};
}

}  // namespace thaw::onnx
