// Standard base64 (RFC 4648, section 4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace thaw {

std::string base64_encoded(std::string_view bytes);
// Nothing for text that is no base64. Padding may be left out; what follows it may not.
std::optional<std::string> base64_decoded(std::string_view text);

}  // namespace thaw
