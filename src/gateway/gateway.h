// The gateway: every request of every listener comes in here, is routed, and gets its answer.
//
//   route.h           which function, or which API
//   invocation.cpp    a function's request: lend, forward, report
//   event_request.h   the same for event functions, whose events it becomes
//   openai_api.h      OpenAI's API, whose requests name their function in the body
//   control_api.h     deploy, list, describe, delete, logs, status
//   calls.cpp         what functions ask for from inside their environments
//   features_api.h    the feature store
//   answers.h         error bodies
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "control/catalog.h"
#include "events/event_invoker.h"
#include "gateway/control_api.h"
#include "gateway/event_request.h"
#include "gateway/features_api.h"
#include "gateway/openai_api.h"
#include "gateway/route.h"
#include "http/server.h"
#include "model/settings.h"
#include "observe/function_log.h"
#include "pool/pool.h"

namespace thaw::gateway {

// Ownership: borrows all it is given; they outlive it. Threads: handle() on any loop.
class Gateway {
 public:
  Gateway(control::Catalog& catalog, control::ConcurrencyGate& gate, pool::Pool& pool, observe::FunctionLogs& logs,
          GatewayOptions options);

  http::Task<> handle(http::Exchange& exchange);
  // A request of a function, from inside its environment (calls.cpp).
  http::Task<> handle_call(http::Exchange& exchange, pool::Caller caller);
  // Known only once the listener is open.
  void set_port(std::uint16_t port) { control_.set_port(port); }
  void start_provisioned() { control_.start_provisioned(); }
  void use_models(ModelsApi& models) { control_.use_models(models); }
  void use_buckets(OpenBucket open) { control_.use_buckets(std::move(open)); }
  void use_events(events::EventService& events) { control_.use_events(events); }
  // Before the first request; it outlives this. Without it there are no paths of features.
  void use_features(FeaturesApi& features) {
    features_ = &features;
    control_.use_features(features);
  }

 private:
  http::Task<> redirect(http::Exchange& exchange, const Route& route);
  http::Task<> home(http::Exchange& exchange);
  http::Task<> answer_own(http::Exchange& exchange, Result<Route> route);
  http::Task<> refuse_call(http::Exchange& exchange, const Route& route, const Error& error);
  http::Task<> answer_openai(http::Exchange& exchange, Route route);
  http::Task<> answer_features(http::Exchange& exchange, Route route);
  // body: the request's, where it has been read already; given back as soon as the function has it.
  http::Task<> invoke(http::Exchange& exchange, Route route, HeldBody* body);
  // What the route's name and qualifier mean for this request; nullptr when there is no such function or version.
  std::shared_ptr<const model::FunctionRecord> find(const Route& route) const;
  Result<std::optional<model::FunctionUrlConfig>> url_of(const Route& route) const;

  control::Catalog& catalog_;
  control::ConcurrencyGate& gate_;
  pool::Pool& pool_;
  events::EventInvoker invoker_{pool_, gate_};
  EventRequests event_requests_;
  const GatewayOptions options_;
  ControlApi control_;
  OpenAiApi openai_;
  FeaturesApi* features_ = nullptr;
};

}  // namespace thaw::gateway
