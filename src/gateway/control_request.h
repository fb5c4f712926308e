// What the control API's operations share: reading a request's query and body, and answering in JSON. Internal to
// src/gateway.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "http/server.h"

namespace thaw::gateway {

using Query = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::size_t kListItemsMax = 10000;
inline constexpr std::size_t kListItemsDefault = 50;  // Lambda's

bool has(const Query& query, std::string_view name);
// Empty when it is not given.
std::string value_of(const Query& query, std::string_view name);
// From 1 to max. Errors: invalid_argument names it.
Result<std::size_t> number_of(const Query& query, std::string_view name, std::size_t otherwise, std::size_t max);

// In [0, 1): shares the requests to a weighted alias out; not secret.
double draw_weight();

Error no_method();
Error no_function(std::string_view name);

// The body as a JSON object; an empty body is an empty object. Errors: too_large, invalid_argument.
http::Task<Result<boost::json::object>> read_json(http::Exchange& exchange);
// A string of the object, nothing when it is missing or null. Errors: invalid_argument names the key.
Result<std::optional<std::string>> string_of(const boost::json::object& object, std::string_view key);

http::Task<Status> answer_json(http::Exchange& exchange, int status, const boost::json::object& body);

}  // namespace thaw::gateway
