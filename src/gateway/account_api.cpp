// Lambda's GetAccountSettings (AWS Lambda API Reference), with this daemon's own bounds and uses.

#include <sys/statvfs.h>

#include <unordered_set>

#include "control/zip_intake.h"
#include "gateway/control_api.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

struct Usage {
  std::uint64_t code_bytes = 0;  // of the packages of all functions and versions, each once
  std::uint64_t functions = 0;
};

Result<Usage> usage_of(const control::Catalog& catalog) {
  constexpr std::size_t kPage = 500;
  Usage usage;
  std::unordered_set<std::string> seen;
  const auto add = [&](const model::FunctionRecord& record) {
    if (seen.insert(record.code_sha256).second) usage.code_bytes += record.code_bytes;
  };
  for (std::string marker;;) {
    ASSIGN_OR_RETURN(const control::Page page, catalog.list(marker, kPage));
    usage.functions += page.functions.size();
    for (const model::FunctionRecord& function : page.functions) {
      add(function);
      for (const auto& version : catalog.versions(function.config.name)) add(*version);
    }
    if (page.next_marker.empty()) return usage;
    marker = page.next_marker;
  }
}

// What is free where packages are kept.
std::uint64_t free_bytes(const std::string& folder) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) return 0;
  return std::uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace

http::Task<Status> ControlApi::account_settings(http::Exchange& exchange) {
  std::uint64_t room = 0;
  const auto usage = co_await http::off_loop(workers_, exchange.loop(), [&] {
    room = free_bytes(options_.data_folder);
    return usage_of(catalog_);
  });
  if (!usage.ok()) co_return usage.error();
  boost::json::object limit{{"TotalCodeSize", usage->code_bytes + room},
                            {"CodeSizeUnzipped", control::IntakeLimits().unpacked_bytes_max},
                            {"CodeSizeZipped", options_.upload_bytes_max},
                            {"ConcurrentExecutions", gate_.executions_max()},
                            {"UnreservedConcurrentExecutions", gate_.unreserved()}};
  boost::json::object used{{"TotalCodeSize", usage->code_bytes}, {"FunctionCount", usage->functions}};
  boost::json::object answer;
  answer["AccountLimit"] = std::move(limit);
  answer["AccountUsage"] = std::move(used);
  co_return co_await answer_json(exchange, 200, answer);
}

}  // namespace thaw::gateway
