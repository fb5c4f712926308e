// Host, target and query as an enemy may send them: "HOST\nTARGET". Whatever comes, the views stay inside the input.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateway/route.h"
#include "http/message.h"

namespace {

void require(bool truth) {
  if (!truth) std::abort();
}

bool inside(std::string_view part, std::string_view whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = input.find('\n');
  const std::string_view host = input.substr(0, line);
  const std::string_view target = line == std::string_view::npos ? std::string_view() : input.substr(line + 1);
  const auto route = thaw::gateway::route(host, target);
  if (route.ok()) {
    require(inside(route->target, target) || route->target == "/");
    require(inside(route->function_name, input));
    require(inside(route->qualifier, input));
    require(inside(route->prefix, target));
    if (route->kind == thaw::gateway::RouteKind::function)
      require(!route->target.empty() && route->target.front() == '/');
  }
  (void)thaw::gateway::is_loopback_host(host);
  if (const auto split = thaw::http::split_target(target); split.ok()) {
    if (const auto pairs = thaw::http::parse_query(split->query); pairs.ok()) require(pairs->size() <= 1000);
    if (const auto path = thaw::http::percent_decode(split->path); path.ok()) {
      require(path->size() <= split->path.size());
      require(thaw::http::percent_decode(thaw::http::percent_encode(*path)).ok());
    }
  }
  return 0;
}
