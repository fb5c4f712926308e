// Tags of functions: names and values that mean nothing to Thaw. Limits and rules are AWS Lambda's ("TagResource", AWS
// Lambda API Reference; "Tag naming limits and requirements", AWS General Reference).
//
// Threads: pure functions. Errors: invalid_argument names the limit; tags_from_json() gives corrupt.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::model {

inline constexpr std::size_t kTagsMax = 50;
inline constexpr std::size_t kTagKeyCharactersMax = 128;
inline constexpr std::size_t kTagValueCharactersMax = 256;

using Tags = std::map<std::string, std::string>;

// Those of {"Tags": {KEY: VALUE, …}}, over those that are there.
Status add_tags(const boost::json::object& tags, Tags& all);
Status check_tag_key(std::string_view key);
boost::json::object to_json(const Tags& tags);
Result<Tags> tags_from_json(std::string_view text);

}  // namespace thaw::model
