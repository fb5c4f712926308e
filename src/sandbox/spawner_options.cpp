#include "sandbox/spawner_options.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

namespace thaw::sandbox {
namespace {

constexpr uid_t kUidBaseMin = 1000;
static_assert(kUidFirst + std::uint64_t{kUidRanges} * kSlotsMaxLimit <= 2'147'483'648,
              "ids above 2^31 confuse programs");

template <class Number>
bool parse_number(std::string_view text, Number& into) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size();
}

bool is_group_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), allowed);
}

}  // namespace

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash;
}

std::string cgroup_name_for(const std::string& data_folder) {
  std::error_code ignored;
  const std::string canonical = std::filesystem::weakly_canonical(data_folder, ignored).string();
  const std::uint64_t hash = hash_of(canonical.empty() ? data_folder : canonical);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name = "thaw-";
  for (int digit = 0; digit < 12; ++digit) name += kDigits[(hash >> (60 - 4 * digit)) & 15];
  return name;
}

uid_t uid_base_for(std::string_view cgroup_name) {
  return kUidFirst + static_cast<uid_t>(hash_of(cgroup_name) % kUidRanges) * kSlotsMaxLimit;
}

std::vector<std::string> to_arguments(const SpawnerOptions& options, int socket_fd) {
  return {options.spawner_path,
          "--socket-fd=" + std::to_string(socket_fd),
          "--stub=" + options.stub_path,
          "--egress-program=" + options.egress_program,
          "--engine-folder=" + options.engine_folder,
          "--cgroup-name=" + options.cgroup_name,
          "--uid-base=" + std::to_string(options.uid_base != 0 ? options.uid_base : uid_base_for(options.cgroup_name)),
          "--slots-max=" + std::to_string(options.slots_max),
          "--prepared=" + std::to_string(options.prepared),
          "--freeze-s=" + std::to_string(options.freeze_s),
          "--log-level=" + options.log_level};
}

Result<SpawnerArguments> parse_arguments(const std::vector<std::string>& arguments) {
  SpawnerArguments parsed;
  SpawnerOptions& options = parsed.options;
  if (!arguments.empty()) options.spawner_path = arguments.front();
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    const std::size_t equals = argument.find('=');
    const std::string_view name = argument.substr(0, equals);
    const std::string value(equals == std::string_view::npos ? std::string_view() : argument.substr(equals + 1));
    bool good = true;
    if (name == "--socket-fd") {
      good = parse_number(value, parsed.socket_fd) && parsed.socket_fd > 2;
    } else if (name == "--stub") {
      options.stub_path = value;
    } else if (name == "--egress-program") {
      options.egress_program = value;
      good = value.starts_with('/');
    } else if (name == "--engine-folder") {
      options.engine_folder = value;
    } else if (name == "--cgroup-name") {
      options.cgroup_name = value;
      good = is_group_name(value);
    } else if (name == "--uid-base") {
      good = parse_number(value, options.uid_base) && options.uid_base >= kUidBaseMin;
    } else if (name == "--slots-max") {
      good = parse_number(value, options.slots_max) && options.slots_max >= 1 && options.slots_max <= kSlotsMaxLimit;
    } else if (name == "--prepared") {
      good = parse_number(value, options.prepared) && options.prepared <= kPreparedMax;
    } else if (name == "--freeze-s") {
      good = parse_number(value, options.freeze_s) && options.freeze_s <= kFreezeSecondsMax;
    } else if (name == "--log-level") {
      options.log_level = value;
    } else {
      good = false;
    }
    if (!good) return invalid_argument("thaw-spawner: " + std::string(argument) + " is not understood");
  }
  if (parsed.socket_fd < 0 || options.stub_path.empty() || options.cgroup_name.empty()) {
    return invalid_argument("thaw-spawner is started by `thaw serve`, not by hand");
  }
  if (options.uid_base == 0) options.uid_base = uid_base_for(options.cgroup_name);
  return parsed;
}

}  // namespace thaw::sandbox
