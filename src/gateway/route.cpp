#include "gateway/route.h"

#include <algorithm>

#include "gateway/features_api.h"
#include "http/message.h"
#include "model/function.h"

namespace thaw::gateway {
namespace {

constexpr std::string_view kFunctionPrefix = "/fn/";
constexpr std::string_view kHostSuffix = ".localhost";

std::string_view without_port(std::string_view host) {
  if (!host.empty() && host.front() == '[') return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

// The segment behind /fn/: NAME, NAME:QUALIFIER, or with the colon escaped, as clients do that encode every name.
Route named(std::string_view segment) {
  const std::size_t colon = std::min(segment.find(':'), std::min(segment.find("%3A"), segment.find("%3a")));
  if (colon == std::string_view::npos) return {.function_name = segment};
  const std::size_t length = segment[colon] == ':' ? 1 : 3;
  return {.function_name = segment.substr(0, colon), .qualifier = segment.substr(colon + length)};
}

// What stands before ".localhost": NAME or QUALIFIER.NAME.
Route named_by_host(std::string_view name) {
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos) return {.function_name = name};
  return {.function_name = name.substr(dot + 1), .qualifier = name.substr(0, dot)};
}

bool is_under(std::string_view path, std::string_view folder) { return path.substr(0, folder.size()) == folder; }

// Lambda's operations carry the date of the API that brought them: /2015-03-31/…, /2021-10-31/….
bool is_dated(std::string_view path) {
  constexpr std::string_view kShape = "/20NN-NN-NN/";
  if (path.size() < kShape.size()) return false;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    if (kShape[i] == 'N' ? path[i] < '0' || path[i] > '9' : path[i] != kShape[i]) return false;
  }
  return true;
}

// /2015-03-31/functions/NAME/invocations
bool is_invoke_path(std::string_view path) {
  constexpr std::string_view kFunctions = "/2015-03-31/functions/";
  constexpr std::string_view kInvocations = "/invocations";
  if (!path.starts_with(kFunctions) || !path.ends_with(kInvocations)) return false;
  if (path.size() <= kFunctions.size() + kInvocations.size()) return false;
  path.remove_prefix(kFunctions.size());
  path.remove_suffix(kInvocations.size());
  return path.find('/') == std::string_view::npos;
}

}  // namespace

bool is_loopback_host(std::string_view host) {
  const std::string_view name = without_port(host);
  if (http::iequals(name, "localhost") || name == "[::1]") return true;
  if (name.substr(0, 4) != "127.") return false;
  int dots = 0;
  for (const char c : name) {
    if (c == '.') {
      ++dots;
    } else if (c < '0' || c > '9') {
      return false;
    }
  }
  return dots == 3;
}

CallAccess call_access(const Route& route) {
  switch (route.kind) {
    case RouteKind::function:
    case RouteKind::function_redirect:
    case RouteKind::openai:
    case RouteKind::features:
    case RouteKind::health:
      return CallAccess::allowed;
    case RouteKind::control:
      return is_invoke_path(route.target.substr(0, route.target.find('?'))) ? CallAccess::invoke : CallAccess::refused;
    case RouteKind::home:
    case RouteKind::unknown:
      break;
  }
  return CallAccess::unknown;
}

Result<Route> route(std::string_view host, std::string_view target) {
  if (target == "*") return Route{};
  ASSIGN_OR_RETURN(const http::Target split, http::split_target(target));
  if (!http::is_utf8(target)) return invalid_argument("the request target is not UTF-8");
  if (target.front() != '/') {
    // An absolute form has lost its authority in split_target(); one without a path is a request for "/".
    const std::size_t path = target.find('/', target.find("//") + 2);
    const std::size_t query = target.find('?');
    target = path < query ? target.substr(path) : std::string_view("/");
  }
  const std::string_view name = without_port(host);
  if (name.size() > kHostSuffix.size() && http::iequals(name.substr(name.size() - kHostSuffix.size()), kHostSuffix)) {
    Route found = named_by_host(name.substr(0, name.size() - kHostSuffix.size()));
    found.kind = RouteKind::function;
    found.target = target;
    return found;
  }
  if (is_under(split.path, kFunctionPrefix)) {
    const std::size_t end = split.path.find('/', kFunctionPrefix.size());
    Route found = named(split.path.substr(
        kFunctionPrefix.size(), end == std::string_view::npos ? std::string_view::npos : end - kFunctionPrefix.size()));
    found.kind = end == std::string_view::npos ? RouteKind::function_redirect : RouteKind::function;
    found.target = end == std::string_view::npos ? target : target.substr(end);
    found.prefix = split.path.substr(0, end);
    return found;
  }
  if (is_under(split.path, "/v1/")) return Route{RouteKind::openai, {}, target, {}};
  if (is_dated(split.path) || is_under(split.path, "/thaw/v1/")) return Route{RouteKind::control, {}, target, {}};
  if (is_feature_path(split.path)) return Route{RouteKind::features, {}, target, {}};
  if (split.path == "/healthz") return Route{RouteKind::health, {}, target, {}};
  if (split.path == "/") return Route{RouteKind::home, {}, target, {}};
  return Route{RouteKind::unknown, {}, target, {}};
}

}  // namespace thaw::gateway
