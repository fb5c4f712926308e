// Keys of a function in tables, shared by the manifest, its checks and its stored form.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/function.h"

namespace thaw::model {

struct NumberField {
  std::string_view key;
  std::uint32_t FunctionConfig::*member;
  std::uint32_t min;
  std::uint32_t max;
};

inline constexpr std::array kNumberFields{
    NumberField{"memory_mb", &FunctionConfig::memory_mb, kMemoryMbMin, kMemoryMbMax},
    NumberField{"ephemeral_mb", &FunctionConfig::ephemeral_mb, kEphemeralMbMin, kEphemeralMbMax},
    NumberField{"timeout_s", &FunctionConfig::timeout_s, 1, kTimeoutSecondsMax},
    NumberField{"init_timeout_s", &FunctionConfig::init_timeout_s, 1, kInitTimeoutSecondsMax},
    NumberField{"concurrency", &FunctionConfig::concurrency, 1, kConcurrencyMax},
    NumberField{"environments_max", &FunctionConfig::environments_max, 1, kEnvironmentsMax},
    NumberField{"queue_max", &FunctionConfig::queue_max, 1, kQueueMax},
    NumberField{"idle_s", &FunctionConfig::idle_s, 1, kIdleSecondsMax},
};

struct TextField {
  std::string_view key;
  std::string FunctionConfig::*member;
  std::size_t bytes_max;
};

inline constexpr std::size_t kLogWordBytesMax = 8;

// Empty where they are not given.
inline constexpr std::array kTextFields{
    TextField{"runtime", &FunctionConfig::runtime, kRuntimeBytesMax},
    TextField{"handler", &FunctionConfig::handler, kHandlerBytesMax},
    TextField{"http_payload", &FunctionConfig::http_payload, kHttpPayloadBytesMax},
    TextField{"http_stage", &FunctionConfig::http_stage, kHttpStageBytesMax},
    TextField{"log_format", &FunctionConfig::log_format, kLogWordBytesMax},
    TextField{"log_level", &FunctionConfig::log_level, kLogWordBytesMax},
    TextField{"description", &FunctionConfig::description, kFunctionDescriptionBytesMax},
    TextField{"role", &FunctionConfig::role, kRoleBytesMax},
};

// The function's user may not bind lower ports.
inline constexpr std::uint16_t kPortMin = 1024;
inline constexpr std::uint16_t kPortMax = 65535;
inline constexpr std::size_t kReadinessPathBytesMax = 1024;
inline constexpr std::size_t kContentTypeBytesMax = 256;
inline constexpr std::size_t kCommandArgumentsMax = 1024;
inline constexpr std::size_t kEnvironmentVariablesMax = 1024;
inline constexpr std::size_t kEnvironmentNameBytesMax = 256;

}  // namespace thaw::model
