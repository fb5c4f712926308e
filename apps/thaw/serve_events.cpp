#include "serve_events.h"

#include <sys/mman.h>

#include <algorithm>

#include "adapters/curl/transport.h"
#include "adapters/nats/event_queue.h"
#include "adapters/sqlite/event_store.h"
#include "base/sys.h"
#include "base/timestamp.h"

namespace thaw::cli {
namespace {

// Of the first wait of an event that could not be run: Lambda's 5 minutes to its 1 second.
constexpr int kBackoffGrowthMax = 300;
// Of one delivery.
constexpr std::chrono::seconds kDeliveryMax{30};

ports::Call delivery_call() { return {.deadline = std::chrono::steady_clock::now() + kDeliveryMax}; }

Status post(adapters::Transport& transport, const events::Delivery& delivery) {
  const adapters::HttpRequest request{.method = "POST",
                                      .url = delivery.destination.place,
                                      .fields = {{"Content-Type", "application/json"}},
                                      .body = delivery.record};
  ASSIGN_OR_RETURN(const adapters::HttpAnswer answer, transport.perform(request, delivery_call()));
  if (answer.status >= 200 && answer.status < 300) return {};
  // Whatever it says may be mended on its side.
  return Error{ErrorKind::unavailable, "it answered " + std::to_string(answer.status)};
}

// FUNCTION/2026/01/31/REQUESTID-success.json: a delivery that is tried again writes the same object.
std::string object_key(const events::Delivery& delivery) {
  std::string day = timestamp_now().substr(0, 10);
  std::replace(day.begin(), day.end(), '-', '/');
  std::string id = delivery.id;
  std::replace(id.begin(), id.end(), ':', '-');
  return delivery.function + "/" + day + "/" + id + ".json";
}

Status store(ModelStores& stores, const events::Delivery& delivery) {
  ASSIGN_OR_RETURN(const store::ModelUri uri,
                   store::parse_model_uri(delivery.destination.place + object_key(delivery)));
  ASSIGN_OR_RETURN(const auto objects, stores.open(uri));
  const UniqueFd file(::memfd_create("record", MFD_CLOEXEC));
  if (!file.valid()) return sys::errno_error("a file in memory");
  RETURN_IF_ERROR(sys::write_all(file, delivery.record));
  RETURN_IF_ERROR(objects->put({.key = uri.key, .bytes = delivery.record.size()}, file, delivery_call()));
  return {};
}

}  // namespace

Result<std::unique_ptr<ports::EventQueue>> open_event_queue(const ServeConfig& config, const std::string& data_folder) {
  if (!config.events_queue.empty()) {
    return adapters::open_nats_event_queue({.urls = config.events_queue,
                                            .stream = config.events_stream,
                                            .credentials_file = config.events_credentials,
                                            .events_max = config.events_max,
                                            .bytes_max = config.events_max_mb << 20});
  }
  return adapters::open_event_store(data_folder + "/events.db",
                                    {.events_max = config.events_max, .bytes_max = config.events_max_mb << 20});
}

events::DispatcherOptions dispatcher_options(const ServeConfig& config, ModelStores& stores) {
  events::DispatcherOptions options;
  options.parallel_max = config.events_parallel_max;
  options.lane_max = std::max<std::size_t>(1, config.events_parallel_max / 4);
  options.rule.function_error_step = std::chrono::milliseconds(config.events_retry_ms);
  options.rule.backoff_first = std::chrono::milliseconds(config.events_backoff_ms);
  options.rule.backoff_max = options.rule.backoff_first * kBackoffGrowthMax;
  const auto transport = std::make_shared<adapters::Transport>(adapters::Transport::Options{});
  options.deliver = [transport, &stores](const events::Delivery& delivery) {
    return delivery.destination.kind == model::Destination::Kind::http ? post(*transport, delivery)
                                                                       : store(stores, delivery);
  };
  return options;
}

}  // namespace thaw::cli
