// The daemon's own log: one line an event, on standard error, with typed fields; never payloads or secrets.
//
//   log::info("environment_started function={} init_ms={}", name, ms);
#pragma once

#include <spdlog/spdlog.h>

namespace thaw::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

// level: "debug", "info", "warn" or "error". program names the process in every line.
void configure(const char* program, const char* level);

}  // namespace thaw::log
