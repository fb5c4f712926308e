// The daemon's control API as the commands use it: requests, and what its errors mean to a person.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "client.h"

namespace thaw::cli {

// "NAME:QUALIFIER" in its parts; without a colon there is no qualifier.
struct QualifiedName {
  std::string function;
  std::optional<std::string> qualifier;
};
QualifiedName qualified_name(std::string_view name);

// Where a function is in the API: /2015-03-31/functions/NAME, with ?Qualifier= for NAME:QUALIFIER.
std::string function_target(std::string_view name);

// A 2xx answer's JSON object; an answer of any other status becomes an Error with the daemon's own words.
Result<boost::json::object> get_object(Client& client, const std::string& target);
// The same of a request with a JSON body.
Result<boost::json::object> send_json(Client& client, const char* method, const std::string& target,
                                      const boost::json::object& body);
Result<boost::json::object> object_of(const Response& response);
Error error_of(const Response& response);

// Every function's configuration, page after page.
Status for_each_function(Client& client, const std::function<void(const boost::json::object&)>& visit);
Result<std::vector<std::string>> function_names(Client& client);

// A not_found about a function, with the nearest names that exist; any other error as it is, so also one about a
// version of a function that is there.
Error with_suggestions(Client& client, std::string_view name, Error error);

// Fields of an object that another program wrote: missing or of another type gives the default.
std::string text_field(const boost::json::object& object, std::string_view key);
std::uint64_t count_field(const boost::json::object& object, std::string_view key);
const boost::json::object& object_field(const boost::json::object& object, std::string_view key);
// What a configuration runs: "python3 app.py", "thaw-onnx (question-answering)" or "python3.11 (app.handler)".
std::string command_text(const boost::json::object& configuration);
// Whether it is an event function's.
bool takes_events(const boost::json::object& configuration);
// "s3://bucket/chat.gguf, 935 MB"; empty where a function names no model.
std::string model_text(const boost::json::object& thaw);

// What a version's configuration says of its snapshot: "23.4 MB, made 2026-01-31T12:00:00", "none: REASON", "being made
// (warm-up request 1 of 2)"; empty where the function has none.
std::string snapshot_text(const boost::json::object& configuration);

// One JSON value on standard output, indented.
void print_json(const boost::json::value& value);

}  // namespace thaw::cli
