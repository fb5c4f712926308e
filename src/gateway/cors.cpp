#include "gateway/cors.h"

#include <algorithm>
#include <vector>

namespace thaw::gateway {
namespace {

bool holds(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool holds_any(const std::vector<std::string>& list) { return holds(list, "*"); }

std::string joined(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& item : list) text += (text.empty() ? "" : ",") + item;
  return text;
}

void append(std::string& out, std::string_view name, std::string_view value) {
  if (!value.empty()) out.append(name).append(": ").append(value).append("\r\n");
}

// With credentials "*" is a name like any other to a browser: what it has asked for is said instead.
std::string allowed(const std::vector<std::string>& list, std::string_view asked, const model::Cors& cors) {
  if (!holds_any(list)) return joined(list);
  return cors.allow_credentials ? std::string(asked) : "*";
}

}  // namespace

bool is_cors_field(std::string_view name) {
  return http::iequals(name.substr(0, kCorsFieldPrefix.size()), kCorsFieldPrefix);
}

bool is_preflight(const http::RequestHead& request) {
  return request.method == "OPTIONS" && request.fields.has("origin") &&
         request.fields.has("access-control-request-method");
}

std::string cors_fields(const model::Cors& cors, const http::RequestHead& request) {
  const std::string_view origin = request.fields.find("origin");
  const bool any = holds_any(cors.allow_origins);
  std::string fields;
  // Caches must not give the answer for one origin to another.
  if (!any || cors.allow_credentials) append(fields, "Vary", "Origin");
  if (origin.empty() || (!any && !holds(cors.allow_origins, origin))) return fields;
  append(fields, "Access-Control-Allow-Origin", any && !cors.allow_credentials ? "*" : origin);
  if (cors.allow_credentials) append(fields, "Access-Control-Allow-Credentials", "true");
  if (!is_preflight(request)) {
    append(fields, "Access-Control-Expose-Headers", joined(cors.expose_headers));
    return fields;
  }
  append(fields, "Access-Control-Allow-Methods",
         allowed(cors.allow_methods, request.fields.find("access-control-request-method"), cors));
  append(fields, "Access-Control-Allow-Headers",
         allowed(cors.allow_headers, request.fields.find("access-control-request-headers"), cors));
  if (cors.max_age_s) append(fields, "Access-Control-Max-Age", std::to_string(*cors.max_age_s));
  return fields;
}

}  // namespace thaw::gateway
