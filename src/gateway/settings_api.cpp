#include "gateway/settings_api.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>

#include "control/function_settings.h"
#include "gateway/function_json.h"
#include "gateway/function_name.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr std::size_t kItemsMax = 50;  // of one page of settings

// How a marker names the settings of a qualifier: never with an empty text.
std::string_view marker_of(std::string_view qualifier) { return qualifier.empty() ? model::kLatestVersion : qualifier; }

}  // namespace

SettingsApi::Match SettingsApi::match(std::string_view path) {
  static constexpr std::array kResources{
      Resource{"/2021-10-31/functions/", "/url", &SettingsApi::url},
      Resource{"/2021-10-31/functions/", "/urls", &SettingsApi::list_urls},
      Resource{"/2019-09-25/functions/", "/event-invoke-config", &SettingsApi::event_invoke},
      Resource{"/2019-09-25/functions/", "/event-invoke-config/list", &SettingsApi::list_event_invokes},
      Resource{"/2017-10-31/functions/", "/concurrency", &SettingsApi::put_concurrency},
      Resource{"/2019-09-30/functions/", "/concurrency", &SettingsApi::get_concurrency},
      Resource{"/2019-09-30/functions/", "/provisioned-concurrency", &SettingsApi::provisioned},
      Resource{"/2017-03-31/tags/", "", &SettingsApi::tags},
      Resource{"/2015-03-31/functions/", "/policy", &SettingsApi::policy},
      Resource{"/2015-03-31/functions/", "/policy/", &SettingsApi::remove_permission},
      Resource{"/2021-07-20/functions/", "/runtime-management-config", &SettingsApi::runtime_management},
      Resource{"/2024-08-31/functions/", "/recursion-config", &SettingsApi::recursion},
      Resource{"/2020-06-30/functions/", "/code-signing-config", &SettingsApi::code_signing},
  };
  for (const Resource& resource : kResources) {
    if (!path.starts_with(resource.prefix)) continue;
    const std::string_view behind = path.substr(resource.prefix.size());
    const std::size_t end = std::min(behind.find('/'), behind.size());
    if (end == 0 || !behind.substr(end).starts_with(resource.suffix)) continue;
    const std::string_view rest = behind.substr(end + resource.suffix.size());
    const bool has_rest = resource.suffix.ends_with('/');
    if (has_rest == rest.empty() || rest.find('/') != std::string_view::npos) continue;
    return {.handler = resource.handler, .name = behind.substr(0, end), .rest = rest};
  }
  return {};
}

bool SettingsApi::is_path(std::string_view path) { return match(path).handler != nullptr; }

http::Task<Status> SettingsApi::handle(http::Exchange& exchange, std::string_view path, const Query& query) {
  const Match matched = match(path);
  const auto named = named_function(matched.name, query);
  if (!named.ok()) co_return named.error();
  auto rest = http::percent_decode(matched.rest);
  if (!rest.ok()) co_return rest.error();
  if (!http::is_utf8(*rest)) co_return invalid_argument("the path is not UTF-8");
  const auto latest = catalog_.find(named->name);
  if (latest == nullptr) co_return no_function(function_arn(named->name, named->qualifier));
  if (catalog_.find({named->name, named->qualifier}, 1) == nullptr)
    co_return no_function(function_arn(latest->config.name, named->qualifier));
  const Call call{.exchange = exchange,
                  .query = query,
                  .method = exchange.request().method,
                  .name = latest->config.name,
                  .qualifier = std::string(control::setting_qualifier(named->qualifier)),
                  .rest = std::move(*rest)};
  co_return co_await (this->*matched.handler)(call);
}

http::Task<Status> SettingsApi::edit(const Call& call, control::SettingKind kind, control::Catalog::EditSetting edit) {
  co_return co_await http::off_loop(workers_, call.exchange.loop(), [&] {
    return catalog_.edit_setting(call.name, kind, call.qualifier,
                                 [&](const std::string* before) -> Result<std::string> {
                                   if (catalog_.find({call.name, call.qualifier}, 1) == nullptr)
                                     return no_function(function_arn(call.name, call.qualifier));
                                   return edit(before);
                                 });
  });
}

http::Task<Status> SettingsApi::remove(const Call& call, control::SettingKind kind) {
  const Status removed = co_await http::off_loop(
      workers_, call.exchange.loop(), [&] { return catalog_.remove_setting(call.name, kind, call.qualifier); });
  if (!removed.ok()) co_return removed;
  co_return co_await call.exchange.respond({.status = 204});
}

http::Task<Status> SettingsApi::list(const Call& call, Listing listing) {
  if (call.method != "GET") co_return no_method();
  const auto count = number_of(call.query, "MaxItems", kItemsMax, kItemsMax);
  if (!count.ok()) co_return count.error();
  const std::string marker = value_of(call.query, "Marker");
  const std::string_view seen = control::setting_qualifier(marker);
  boost::json::array page;
  std::string last;
  boost::json::object answer;
  for (const control::Setting& setting : catalog_.settings(call.name, listing.kind)) {
    if (!marker.empty() && setting.qualifier <= seen) continue;
    if (page.size() == *count) {
      answer["NextMarker"] = marker_of(last);
      break;
    }
    auto item = listing.item(setting);
    if (!item.ok()) co_return item.error();
    page.push_back(std::move(*item));
    last = setting.qualifier;
  }
  answer[listing.name] = std::move(page);
  co_return co_await answer_json(call.exchange, 200, answer);
}

}  // namespace thaw::gateway
