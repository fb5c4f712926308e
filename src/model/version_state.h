// What a published version is to its users: whether its making is over, and whether it starts from a snapshot. Names
// are AWS Lambda's ("State of the function", AWS Lambda API Reference).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::model {

enum class VersionPhase : std::uint8_t {
  pending,  // being made; serves by init
  active,   // serves, from a snapshot where it has one
  failed,   // its init, its warm-up or its hook failed; what it serves starts by init
};

struct VersionState {
  VersionPhase phase = VersionPhase::active;
  // Of a failed one. The code is one of Lambda's for StateReasonCode.
  std::string reason_code;
  std::string reason;
  // Why an active one has no snapshot; empty when it has one, or shall have none.
  std::string no_snapshot;
  // It has none for a reason that may pass, so that it is made again.
  bool retry = false;
  // When the snapshot was made, as Lambda writes times; empty without one.
  std::string snapshot_made_at;

  bool operator==(const VersionState&) const = default;
};

// "Pending", "Active", "Failed".
std::string_view to_string(VersionPhase phase);

// The stored form (docs/formats/snapshot.md).
std::string to_json(const VersionState& state);
// Errors: corrupt for what to_json() cannot have written, unsupported for another format number.
Result<VersionState> version_state_from_json(std::string_view json);

}  // namespace thaw::model
