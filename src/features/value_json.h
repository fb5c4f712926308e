// Feature values as Feast's HTTP API has them in JSON.
//
// A unix_timestamp is a number of seconds since 1970, or on the way in a text of ISO 8601; bytes are base64; what JSON
// has no number for is "NaN", "Infinity", "-Infinity".
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/feature.h"

namespace thaw::features {

// null is no value. Errors: invalid_argument says what the value should be, too_large.
Result<model::FeatureValue> value_from_json(const boost::json::value& json, model::FeatureType type);

// Milliseconds since 1970 of "2026-01-31", "2026-01-31 12:00:00", "2026-01-31T12:00:00.123456+01:00", "…Z"; UTC where
// no zone is said. Of a number: seconds. Errors: invalid_argument.
Result<std::int64_t> time_from_text(std::string_view text);
Result<std::int64_t> time_from_json(const boost::json::value& json);

// Appends. What is not of the type is written as what it is.
void append_value(std::string& out, const model::FeatureValue& value, model::FeatureType type);
void append_quoted(std::string& out, std::string_view text);
// As protobuf writes a timestamp: "2026-01-31T12:00:00Z", with three digits of a fraction where there is one; quoted.
void append_time(std::string& out, std::int64_t ms);

}  // namespace thaw::features
