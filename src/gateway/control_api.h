// The control API: Lambda's paths and shapes where they overlap, Thaw's own under /thaw/v1/.
//
//   PUT    /thaw/v1/functions/NAME/package?config=TOML   deploy a zip (NAME "-": the manifest's)
//   POST   /2015-03-31/functions                         CreateFunction
//   GET    /2015-03-31/functions?Marker=&MaxItems=       list
//   GET    /2015-03-31/functions/NAME?Qualifier=         describe
//   PUT    /2015-03-31/functions/NAME/code               UpdateFunctionCode
//   GET    /2015-03-31/functions/NAME/configuration?Qualifier=
//   PUT    /2015-03-31/functions/NAME/configuration      UpdateFunctionConfiguration
//   DELETE /2015-03-31/functions/NAME?Qualifier=         one version, or all there is
//   POST   /2015-03-31/functions/NAME/versions           publish
//   GET    /2015-03-31/functions/NAME/versions?Marker=&MaxItems=
//   POST   /2015-03-31/functions/NAME/aliases            create; GET lists
//   GET    /2015-03-31/functions/NAME/aliases/ALIAS      also PUT, DELETE
//   POST   /2015-03-31/functions/NAME/invocations        Invoke, of event functions
//   GET    /2016-08-19/account-settings/                 GetAccountSettings
//   GET    /thaw/v1/functions/NAME/package?Qualifier=    its zip, which GetFunction's Location names
//   POST   /2021-11-15/functions/NAME/response-streaming-invocations
//   GET    /thaw/v1/functions/NAME/logs?follow=1&bytes=N
//   GET    /thaw/v1/models, /thaw/v1/objects             see models_api.h
//   …      /DATE/functions/NAME/url, …                   see settings_api.h
//   GET    /thaw/v1/schedules?FunctionName=
//   PUT    /thaw/v1/schedules/NAME/SCHEDULE              {Expression, Qualifier, Input, Enabled}; DELETE
//   …      /thaw/v1/features…                           see features_api.h
//   GET    /thaw/v1/status
//
// Who may call: anyone on the Unix socket (its file mode decides); over TCP only from loopback, with a Host that names
// loopback and nothing that a browser adds for a page, so that no web page can deploy code. Where access keys are
// configured, over TCP whoever signs with one of them (sigv4.h), from anywhere.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "control/catalog.h"
#include "events/event_invoker.h"
#include "events/event_service.h"
#include "gateway/access_keys.h"
#include "gateway/code_intake.h"
#include "gateway/control_request.h"
#include "gateway/layers_api.h"
#include "gateway/route.h"
#include "gateway/settings_api.h"
#include "http/server.h"
#include "model/tags.h"
#include "observe/function_log.h"
#include "pool/pool.h"

namespace thaw::gateway {

class FeaturesApi;
class ModelsApi;

struct GatewayOptions {
  std::string version;
  std::string listen_host = "127.0.0.1";
  std::string data_folder;
  std::uint64_t body_bytes_max = 0;             // of requests to functions; 0 is no bound
  std::uint64_t upload_bytes_max = 4ULL << 30;  // of a package
  std::uint64_t memory_bytes_max = 0;           // that the pool admits, for status
  std::chrono::steady_clock::time_point started_at{};
  AccessKeys
      access_keys;  // that requests over TCP to the control API are signed with; empty: see check_control_caller()
};

// Refuses callers over TCP that are not local programs. Errors: forbidden, saying what to do.
Status check_control_caller(const http::Peer& peer, const http::RequestHead& request);

// Ownership: borrows all it is given. Threads: handle() on any loop; file I/O runs on two worker threads.
class ControlApi {
 public:
  ControlApi(control::Catalog& catalog, control::ConcurrencyGate& gate, pool::Pool& pool, observe::FunctionLogs& logs,
             const GatewayOptions& options);
  ~ControlApi();

  http::Task<> handle(http::Exchange& exchange, std::string_view target);
  // Lambda's Invoke by a function, from inside its environment: Who calls
  // is known, and needs no signature. route: one of CallAccess::invoke.
  http::Task<> handle_call(http::Exchange& exchange, const Route& route);
  void set_port(std::uint16_t port) { port_ = port; }
  // Starts the environments that are kept initialised; once, when all is ready for functions.
  void start_provisioned() { provisioner_.follow(); }
  // Before the first request; it outlives this. Without it there are no paths of models.
  void use_models(ModelsApi& models) { models_ = &models; }
  // Before the first request. Without it packages come with their requests alone.
  void use_buckets(OpenBucket open) { code_.use_buckets(std::move(open)); }
  // The same; without it no events are queued.
  void use_events(events::EventService& events) { events_ = &events; }
  void use_features(FeaturesApi& features) { features_ = &features; }
  // Whether the caller may do what this API does. Errors: forbidden.
  http::Task<Status> admit(http::Exchange& exchange);

 private:
  http::Task<Status> dispatch(http::Exchange& exchange, std::string_view target);
  http::Task<Status> dispatch_call(http::Exchange& exchange, const Route& route);
  http::Task<> answer_failure(http::Exchange& exchange, Status done);
  // Of Thaw's own paths: segment, encoded, and what is behind it.
  http::Task<Status> dispatch_own(http::Exchange& exchange, std::string_view segment, std::string_view rest,
                                  const Query& query);
  http::Task<Status> list(http::Exchange& exchange, const Query& query);
  // FunctionVersion=ALL: every function, each followed by its versions.
  http::Task<Status> list_all(http::Exchange& exchange, const std::string& marker, std::size_t count);
  http::Task<Status> describe(http::Exchange& exchange, const std::string& name, const std::string& qualifier);
  http::Task<Status> describe_configuration(http::Exchange& exchange, const std::string& name,
                                            const std::string& qualifier);
  http::Task<Status> deploy(http::Exchange& exchange, const std::string& name, const Query& query);
  http::Task<Status> remove(http::Exchange& exchange, const std::string& name);
  http::Task<Status> logs(http::Exchange& exchange, const std::string& name, const Query& query);
  http::Task<Status> follow_log(http::Exchange& exchange, const std::string& name, std::uint64_t position);
  http::Task<Status> status(http::Exchange& exchange);
  // qualifier: as function_configuration's.
  boost::json::object configuration(const model::FunctionRecord& record, std::string_view qualifier) const;

  // Of account_api.cpp.
  http::Task<Status> account_settings(http::Exchange& exchange);

  // Of invoke_api.cpp. What both invocations have in common: everything but the type, read and checked.
  http::Task<Result<events::EventRequest>> read_invocation(http::Exchange& exchange, const std::string& name,
                                                           const std::string& qualifier,
                                                           std::size_t payload_bytes_max = invoke::kPayloadBytesMax);
  http::Task<Status> invoke(http::Exchange& exchange, const std::string& name, const std::string& qualifier,
                            const Route* call = nullptr);

  // Of functions_api.cpp.
  // Where GetFunction's caller gets the zip: at send_package().
  std::string package_url(const http::Exchange& exchange, const model::FunctionRecord& record) const;
  http::Task<Status> send_package(http::Exchange& exchange, const std::string& name, const Query& query);
  http::Task<Status> create_function(http::Exchange& exchange);
  http::Task<Status> update_code(http::Exchange& exchange, const std::string& name);
  http::Task<Status> update_configuration(http::Exchange& exchange, const std::string& name);
  // The change itself, a version of it where that is asked for, and the answer.
  struct FinishOptions {
    bool publish = false;
    model::Tags tags;  // that the function gets
  };
  http::Task<Status> finish_change(http::Exchange& exchange, const control::Catalog::Change& change,
                                   const FinishOptions& options);

  // Of invoke_stream_api.cpp.
  http::Task<Status> invoke_streamed(http::Exchange& exchange, const std::string& name, const std::string& qualifier);

  // Of schedules_api.cpp. rest: the path behind /thaw/v1/schedules.
  http::Task<Status> schedules(http::Exchange& exchange, std::string_view rest, const Query& query);
  http::Task<Status> change_schedule(http::Exchange& exchange, const std::string& function, const std::string& name);

  // Of events_api.cpp.
  http::Task<Status> accept_event(http::Exchange& exchange, events::EventRequest request, const std::string& qualifier);

  // Of versions_api.cpp. rest: the path behind the function's name.
  http::Task<Status> dispatch_versions(http::Exchange& exchange, const std::string& name, std::string_view rest,
                                       const Query& query);
  http::Task<Status> publish(http::Exchange& exchange, const std::string& name);
  http::Task<Status> list_versions(http::Exchange& exchange, const std::string& name, const Query& query);
  http::Task<Status> remove_version(http::Exchange& exchange, const std::string& name, const std::string& qualifier);
  http::Task<Status> create_alias(http::Exchange& exchange, const std::string& name);
  http::Task<Status> update_alias(http::Exchange& exchange, const std::string& name, const std::string& alias);
  http::Task<Status> list_aliases(http::Exchange& exchange, const std::string& name, const Query& query);

  control::Catalog& catalog_;
  control::ConcurrencyGate& gate_;
  pool::Pool& pool_;
  events::EventInvoker invoker_{pool_, gate_};
  observe::FunctionLogs& logs_;
  const GatewayOptions& options_;
  ModelsApi* models_ = nullptr;
  events::EventService* events_ = nullptr;
  FeaturesApi* features_ = nullptr;
  std::atomic<std::uint16_t> port_{0};
  boost::asio::thread_pool workers_{2};
  Provisioner provisioner_{catalog_, pool_};
  SettingsApi settings_{catalog_, gate_, provisioner_, workers_, port_};
  std::atomic<unsigned> followers_{0};
  CodeIntake code_{workers_};
  LayersApi layers_{catalog_, workers_, code_, options_.listen_host, port_};
};

// What status shows of the queue of events.
boost::json::object events_view(const events::EventsView& view);

}  // namespace thaw::gateway
