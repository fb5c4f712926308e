#include "gateway/historical_request.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/csv_text.h"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kDepthMax = 8;
constexpr std::size_t kColumnsMax = 1024;

Error wrong(std::string_view field, const std::string& what) {
  return invalid_argument(std::string(field) + ": " + what);
}

Status check(const HistoricalQuestion& question) {
  if (question.features.empty() == question.service.empty())
    return wrong("features", "or feature_service: name one of them");
  return {};
}

std::optional<std::string> field_text(const json::value& value) {
  if (value.is_null()) return std::nullopt;
  if (value.is_string()) return std::string(std::string_view(value.get_string()));
  return json::serialize(value);
}

Result<std::string> csv_of(const json::object& columns) {
  if (columns.empty() || columns.size() > kColumnsMax)
    return wrong("entities", "must have 1 to " + std::to_string(kColumnsMax) + " columns");
  std::string csv;
  std::size_t rows = 0;
  std::vector<const json::array*> arrays;
  for (const auto& [name, column] : columns) {
    if (name.empty()) return wrong("entities", "a column has no name");
    if (!column.is_array()) return wrong("entities", "the column " + std::string(name) + " must be an array");
    if (!arrays.empty() && column.get_array().size() != rows)
      return wrong("entities", "the column " + std::string(name) + " has " + std::to_string(column.get_array().size()) +
                                   " values, the one before it " + std::to_string(rows));
    rows = column.get_array().size();
    if (!arrays.empty()) csv += ',';
    append_csv_field(csv, std::string(name));
    arrays.push_back(&column.get_array());
  }
  csv += '\n';
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      if (i > 0) csv += ',';
      append_csv_field(csv, field_text((*arrays[i])[row]));
    }
    csv += '\n';
  }
  return csv;
}

}  // namespace

Result<HistoricalQuestion> historical_question(const Query& query) {
  HistoricalQuestion question{.service = value_of(query, "feature_service")};
  std::string_view rest;
  const std::string features = value_of(query, "features");
  for (rest = features; !rest.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    if (comma > 0) question.features.emplace_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  const std::string full = value_of(query, "full_feature_names");
  if (!full.empty() && full != "0" && full != "1") return wrong("full_feature_names", "must be 0 or 1");
  question.full_feature_names = full == "1";
  RETURN_IF_ERROR(check(question));
  return question;
}

Result<HistoricalBody> parse_historical_body(std::string_view text) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  boost::system::error_code failed;
  const json::value value = json::parse(text, failed, {}, options);
  if (failed || !value.is_object()) return invalid_argument("the request body is no JSON object");
  const json::object& object = value.get_object();
  HistoricalBody body;
  if (const json::value* features = object.if_contains("features"); features != nullptr && !features->is_null()) {
    if (!features->is_array()) return wrong("features", "must be an array of strings like VIEW:FEATURE");
    for (const json::value& one : features->get_array()) {
      if (!one.is_string()) return wrong("features", "must be an array of strings like VIEW:FEATURE");
      body.question.features.emplace_back(one.get_string());
    }
  }
  ASSIGN_OR_RETURN(const auto service, string_of(object, "feature_service"));
  body.question.service = service.value_or("");
  if (const json::value* full = object.if_contains("full_feature_names")) {
    if (!full->is_bool()) return wrong("full_feature_names", "must be true or false");
    body.question.full_feature_names = full->get_bool();
  }
  RETURN_IF_ERROR(check(body.question));
  const json::value* entities = object.if_contains("entities");
  if (entities == nullptr || !entities->is_object())
    return wrong("entities", "must be an object of columns, event_timestamp among them");
  ASSIGN_OR_RETURN(body.entities_csv, csv_of(entities->get_object()));
  return body;
}

}  // namespace thaw::gateway
