// `thaw doctor`: what this machine has of what Thaw needs, found by trying it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "commands.h"
#include "config.h"

namespace thaw::cli {

enum class Finding : std::uint8_t {
  ok,
  warning,  // works without, but something is slower, smaller or not known
  missing,  // `thaw serve` cannot work
};

struct Check {
  std::string name;
  Finding finding = Finding::ok;
  std::string detail;
  std::string advice = {};  // what to do; empty when ok
};

// The checks of doctor_machine.cpp (the kernel and the machine) and doctor_setup.cpp (files, folders, daemon).
std::vector<Check> machine_checks();
std::vector<Check> setup_checks(Session& session, const Result<ServeConfig>& config);

// Exit status 1 when something is missing.
int run_doctor(Session& session, const ConfigSources& sources);

}  // namespace thaw::cli
