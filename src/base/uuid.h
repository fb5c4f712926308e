// Random UUIDs (RFC 9562, version 4) for request and revision ids.
#pragma once

#include <string>

namespace thaw {

// 36 characters, lower case. From a per-thread generator seeded by getrandom(2): unique, not secret.
std::string random_uuid();

}  // namespace thaw
