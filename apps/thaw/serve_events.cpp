#include "serve_events.h"

#include <algorithm>

#include "adapters/sqlite/event_store.h"

namespace thaw::cli {
namespace {

// Of the first wait of an event that could not be run: Lambda's 5 minutes to its 1 second.
constexpr int kBackoffGrowthMax = 300;

}  // namespace

Result<std::unique_ptr<ports::EventQueue>> open_event_queue(const ServeConfig& config, const std::string& data_folder) {
  return adapters::open_event_store(data_folder + "/events.db",
                                    {.events_max = config.events_max, .bytes_max = config.events_max_mb << 20});
}

events::DispatcherOptions dispatcher_options(const ServeConfig& config) {
  events::DispatcherOptions options;
  options.parallel_max = config.events_parallel_max;
  options.lane_max = std::max<std::size_t>(1, config.events_parallel_max / 4);
  options.rule.function_error_step = std::chrono::milliseconds(config.events_retry_ms);
  options.rule.backoff_first = std::chrono::milliseconds(config.events_backoff_ms);
  options.rule.backoff_max = options.rule.backoff_first * kBackoffGrowthMax;
  return options;
}

}  // namespace thaw::cli
