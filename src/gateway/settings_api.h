// The control API's part for settings of functions: what Lambda's API keeps beside a function's configuration.
//
//   POST   /2021-10-31/functions/NAME/url?Qualifier=                 CreateFunctionUrlConfig; PUT, GET, DELETE
//   GET    /2021-10-31/functions/NAME/urls?Marker=&MaxItems=
//   PUT    /2019-09-25/functions/NAME/event-invoke-config?Qualifier= PutFunctionEventInvokeConfig; POST updates; GET,
//   DELETE GET    /2019-09-25/functions/NAME/event-invoke-config/list?Marker=&MaxItems=
//   PUT    /2017-10-31/functions/NAME/concurrency                    PutFunctionConcurrency; DELETE
//   GET    /2019-09-30/functions/NAME/concurrency
//   PUT    /2019-09-30/functions/NAME/provisioned-concurrency?Qualifier=  GET, DELETE; GET ?List=ALL
//   POST   /2017-03-31/tags/ARN                                      TagResource; DELETE ?tagKeys=, GET
//   POST   /2015-03-31/functions/NAME/policy?Qualifier=              AddPermission; GET
//   DELETE /2015-03-31/functions/NAME/policy/SID?Qualifier=
//   GET    /2021-07-20/functions/NAME/runtime-management-config      PUT
//   GET    /2024-08-31/functions/NAME/recursion-config               PUT
//   GET    /2020-06-30/functions/NAME/code-signing-config            PUT, DELETE
//
// NAME is a name, a partial or a full ARN, with or without a qualifier.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "control/catalog.h"
#include "control/concurrency.h"
#include "gateway/control_request.h"
#include "gateway/provisioner.h"
#include "http/server.h"

namespace thaw::gateway {

// Ownership: borrows all it is given. Threads: handle() on any loop; file I/O runs on the workers.
class SettingsApi {
 public:
  // port: where functions answer; it is known only once the listener is open.
  SettingsApi(control::Catalog& catalog, const control::ConcurrencyGate& gate, Provisioner& provisioner,
              boost::asio::thread_pool& workers, const std::atomic<std::uint16_t>& port)
      : catalog_(catalog), gate_(gate), provisioner_(provisioner), workers_(workers), port_(port) {}

  static bool is_path(std::string_view path);
  // path: decoded from nothing yet, without the query.
  http::Task<Status> handle(http::Exchange& exchange, std::string_view path, const Query& query);

 private:
  struct Call {
    http::Exchange& exchange;
    const Query& query;
    std::string_view method;
    std::string name;       // as the function is called
    std::string qualifier;  // as settings are kept: empty for $LATEST
    std::string rest;       // the path's last part, where the resource has one of its own
  };
  using Handler = http::Task<Status> (SettingsApi::*)(const Call& call);
  // Of paths PREFIX NAME SUFFIX; a suffix that ends with a slash is followed by one more part.
  struct Resource {
    std::string_view prefix;
    std::string_view suffix;
    Handler handler;
  };
  struct Match {
    Handler handler = nullptr;
    std::string_view name;
    std::string_view rest;
  };
  static Match match(std::string_view path);
  // What a document becomes, off the loop; the qualifier is there while edit runs.
  http::Task<Status> edit(const Call& call, control::SettingKind kind, control::Catalog::EditSetting edit);
  http::Task<Status> remove(const Call& call, control::SettingKind kind);
  // One page of a function's settings of a kind, under that name in the answer.
  using ItemJson = std::function<Result<boost::json::object>(const control::Setting& setting)>;
  struct Listing {
    control::SettingKind kind;
    std::string_view name;
    ItemJson item;
  };
  http::Task<Status> list(const Call& call, Listing listing);

  // Of function_url_api.cpp.
  http::Task<Status> url(const Call& call);
  http::Task<Status> create_url(const Call& call);
  http::Task<Status> update_url(const Call& call);
  http::Task<Status> list_urls(const Call& call);
  Result<boost::json::object> url_json(const std::string& name, const control::Setting& setting) const;

  // Of event_invoke_api.cpp.
  http::Task<Status> event_invoke(const Call& call);
  http::Task<Status> change_event_invoke(const Call& call);
  http::Task<Status> list_event_invokes(const Call& call);

  // Of concurrency_api.cpp.
  http::Task<Status> put_concurrency(const Call& call);
  http::Task<Status> get_concurrency(const Call& call);

  // Of provisioned_api.cpp.
  http::Task<Status> provisioned(const Call& call);
  http::Task<Status> put_provisioned(const Call& call);
  http::Task<Status> list_provisioned(const Call& call);
  Status check_provisioned(const Call& call, std::uint32_t executions) const;
  Result<boost::json::object> provisioned_json(const std::string& name, const control::Setting& setting) const;

  // Of tags_api.cpp.
  http::Task<Status> tags(const Call& call);
  http::Task<Status> add_tags(const Call& call);
  http::Task<Status> remove_tags(const Call& call);

  // Of policy_api.cpp.
  http::Task<Status> policy(const Call& call);
  http::Task<Status> add_permission(const Call& call);
  http::Task<Status> remove_permission(const Call& call);

  // Of fixed_settings_api.cpp. check: of a body that would set it.
  http::Task<Status> fixed(const Call& call, Status (*check)(const boost::json::object&), boost::json::object answer);
  http::Task<Status> runtime_management(const Call& call);
  http::Task<Status> recursion(const Call& call);
  http::Task<Status> code_signing(const Call& call);

  control::Catalog& catalog_;
  const control::ConcurrencyGate& gate_;
  Provisioner& provisioner_;
  boost::asio::thread_pool& workers_;
  const std::atomic<std::uint16_t>& port_;
};

}  // namespace thaw::gateway
