#include "model/version_state.h"

#include <boost/json.hpp>

namespace thaw::model {
namespace {

namespace json = boost::json;

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kJsonBytesMax = 1 << 16;
constexpr std::size_t kReasonBytesMax = 2048;
constexpr VersionPhase kPhases[] = {VersionPhase::pending, VersionPhase::active, VersionPhase::failed};

Error corrupt(std::string_view what) {
  return {ErrorKind::corrupt, "a stored version state is damaged: " + std::string(what)};
}

Result<std::string> string_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return corrupt(std::string(key) + " is missing or no string");
  return std::string(value->get_string());
}

// A reason can hold what a function's files are called: bounded, and UTF-8 is not a given.
std::string stored(std::string_view text) {
  std::string safe(text.substr(0, kReasonBytesMax));
  for (char& c : safe) {
    if (c < ' ' || c > '~') c = '?';
  }
  return safe;
}

}  // namespace

std::string_view to_string(VersionPhase phase) {
  switch (phase) {
    case VersionPhase::pending:
      return "Pending";
    case VersionPhase::active:
      return "Active";
    case VersionPhase::failed:
      break;
  }
  return "Failed";
}

std::string to_json(const VersionState& state) {
  return json::serialize(json::object{{"format", kFormat},
                                      {"state", to_string(state.phase)},
                                      {"reason_code", stored(state.reason_code)},
                                      {"reason", stored(state.reason)},
                                      {"no_snapshot", stored(state.no_snapshot)},
                                      {"retry", state.retry},
                                      {"snapshot_made_at", stored(state.snapshot_made_at)}});
}

Result<VersionState> version_state_from_json(std::string_view text) {
  if (text.size() > kJsonBytesMax) return corrupt("it is longer than any that is written");
  json::error_code code;
  const json::value parsed = json::parse(text, code);
  if (code || !parsed.is_object()) return corrupt("it is no JSON object");
  const json::object& object = parsed.get_object();
  const json::value* format = object.if_contains("format");
  if (format == nullptr || !format->is_int64()) return corrupt("format is missing");
  if (format->get_int64() != kFormat)
    return Error{ErrorKind::unsupported, "a stored version state has another format than " + std::to_string(kFormat)};
  VersionState state;
  ASSIGN_OR_RETURN(const std::string phase, string_member(object, "state"));
  bool known = false;
  for (const VersionPhase one : kPhases) {
    if (phase == to_string(one)) state.phase = one, known = true;
  }
  if (!known) return corrupt("state is none");
  ASSIGN_OR_RETURN(state.reason_code, string_member(object, "reason_code"));
  ASSIGN_OR_RETURN(state.reason, string_member(object, "reason"));
  ASSIGN_OR_RETURN(state.no_snapshot, string_member(object, "no_snapshot"));
  ASSIGN_OR_RETURN(state.snapshot_made_at, string_member(object, "snapshot_made_at"));
  const json::value* retry = object.if_contains("retry");
  if (retry == nullptr || !retry->is_bool()) return corrupt("retry is missing or no bool");
  state.retry = retry->get_bool();
  return state;
}

}  // namespace thaw::model
