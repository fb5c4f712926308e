// The few shapes of S3's XML answers, read by expat. Bounded by the answer that the transport collected.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ports/object_store.h"

namespace thaw::adapters {

// ListObjectsV2's answer. Errors: unavailable for what is not that.
Result<ports::ObjectPage> parse_list(std::string_view xml);

struct S3ErrorBody {
  std::string code;  // "NoSuchKey"
  std::string message;
  std::string region;
};
// Empty fields where the body is no S3 error.
S3ErrorBody parse_error(std::string_view xml);

// The text of the first element of that name; empty when there is none.
std::string first_text(std::string_view xml, std::string_view element);

}  // namespace thaw::adapters
