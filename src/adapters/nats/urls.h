// Addresses of NATS servers: nats:// or tls://, with ',' between those of one cluster. They may hold passwords.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::adapters {

// Errors: invalid_argument, which never shows users and passwords.
Status check_nats_urls(std::string_view urls);
// The addresses without users and passwords, for messages.
std::string shown_nats_urls(std::string_view urls);
std::vector<std::string> split_nats_urls(std::string_view urls);

}  // namespace thaw::adapters
