// How many threads a model may use: the environment's CPU share, so that a function with a quarter of a CPU does not
// start as many threads as the machine has CPUs and then stand still for most of every scheduling period.
#pragma once

#include <string>

#include "base/result.h"

namespace thaw::onnx {

struct CpuShare {
  unsigned threads = 1;
  // Others use these CPUs too: there is a limit, or it is smaller than the machine.
  bool shared = false;
};

// THAW_CPU_MILLI (thousandths of a CPU) if it is set; else the cgroup's limit, v2 or v1; else all CPUs that this
// process may run on. Rounded up to whole CPUs. Errors: invalid_argument when THAW_CPU_MILLI is no number from 1 to
// 1,000,000.
Result<CpuShare> detect_cpu_share();

// The limit of a cgroup in thousandths of a CPU, or 0 for none. root: where the cgroup file systems are mounted.
unsigned long cgroup_cpu_milli(const std::string& root);

}  // namespace thaw::onnx
