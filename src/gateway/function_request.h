// What CreateFunction and UpdateFunctionConfiguration say of a function, as changes to its configuration. Limits, error
// types and messages are Lambda's ("CreateFunction", AWS Lambda API Reference).
//
// Threads: pure functions. Errors: invalid_argument with the code ValidationException, SerializationException or none
// (InvalidParameterValueException), naming the member.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/function.h"

namespace thaw::gateway {

// Lambda's, below Thaw's own.
inline constexpr std::size_t kVariablesBytesMax = 4096;
inline constexpr std::uint32_t kLambdaEphemeralMbMin = 512;

// An event function as Lambda makes one where the request is silent.
model::FunctionConfig lambda_defaults();

// Every member of the body that belongs to a configuration; those that are missing or null leave it as it is. What Thaw
// cannot do is refused by name, unless the member is empty.
Status apply_configuration(const boost::json::object& body, model::FunctionConfig& config);
// Errors where the function would run on another machine's processor.
Status check_architectures(const boost::json::object& body);
// That what CreateFunction requires is there.
Status check_required(const boost::json::object& body);

// A body that is JSON. Errors: InvalidRequestContentException.
Result<boost::json::object> parse_object(std::string_view text);
Result<bool> bool_of(const boost::json::object& body, std::string_view key, bool otherwise);
// "1 validation error detected: Value '…' at '…' failed to satisfy constraint: …". value: nothing for null.
Error validation_error(std::string_view member, std::optional<std::string_view> value, std::string_view constraint);
// What a name must be: NAME alone, taken out of an ARN already.
Status check_lambda_name(std::string_view name);

}  // namespace thaw::gateway
