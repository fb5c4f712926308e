#include "events/outcome.h"

#include <boost/json.hpp>

#include "base/timestamp.h"
#include "base/uuid.h"
#include "events/event_intake.h"

namespace thaw::events {
namespace {

namespace json = boost::json;

constexpr std::size_t kDepthMax = 500;  // of nested objects and arrays, as Invoke's

bool is_json(std::string_view text) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  json::error_code code;
  json::stream_parser parser({}, options);
  parser.write(text.data(), text.size(), code);
  if (!code) parser.finish(code);
  return !code;
}

// JSON as it is; what is none, as a string of it.
std::string embedded(std::string_view payload) {
  if (payload.empty()) return "null";
  return is_json(payload) ? std::string(payload) : json::serialize(json::string(payload));
}

// 2026-01-31T12:00:00.000Z.
std::string timestamp_z() {
  std::string now = timestamp_now();
  now.replace(now.find('+'), std::string::npos, "Z");
  return now;
}

json::object response_context(const EventResult& result) {
  json::object context{{"statusCode", result.status.ok() ? 200 : http_status(result.status.error().kind)},
                       {"executedVersion", result.executed_version}};
  if (!result.function_error.empty()) context["functionError"] = result.function_error;
  return context;
}

// The record becomes another function's event, or waits for its delivery.
Result<ports::NewEvent> follow_up(const Ending& ending, const std::string& target, std::string_view side,
                                  std::string record) {
  ASSIGN_OR_RETURN(const model::Destination destination, model::parse_destination(target));
  QueuedEvent next;
  next.chain = ending.event.chain + 1;
  next.payload = std::move(record);
  if (destination.kind != model::Destination::Kind::function) {
    next.kind = QueuedEvent::Kind::deliver;
    next.function = ending.event.function;
    next.function_arn = ending.event.function_arn;
    next.target = target;
    return new_event(ending.request_id + ":" + std::string(side), next);
  }
  if (next.chain > kChainMax) {
    return Error{ErrorKind::unsupported, "more than " + std::to_string(kChainMax) +
                                             " functions' destinations led to this event: a loop is stopped here"};
  }
  if (next.payload.size() > kEventPayloadBytesMax) {
    return Error{ErrorKind::unsupported, "the record for " + target + " is larger than " +
                                             std::to_string(kEventPayloadBytesMax) + " bytes, the most of an event"};
  }
  next.function = destination.place;
  next.qualifier = destination.qualifier;
  next.function_arn = target;
  next.trace_id = ending.event.trace_id;
  return new_event(random_uuid(), next);
}

}  // namespace

std::string_view to_string(Condition condition) {
  switch (condition) {
    case Condition::success:
      return "Success";
    case Condition::retries_exhausted:
      return "RetriesExhausted";
    case Condition::event_age_exceeded:
      break;
  }
  return "EventAgeExceeded";
}

std::string destination_record(const Ending& ending, std::string_view timestamp) {
  const QueuedEvent& event = ending.event;
  const json::object request{
      {"requestId", ending.request_id},
      {"functionArn", event.function_arn + (event.qualifier.empty() ? ":$LATEST" : "")},
      {"condition", to_string(ending.condition)},
      {"approximateInvokeCount", ending.attempts},
  };
  std::string record = "{\"version\":\"1.0\",\"timestamp\":\"" + std::string(timestamp) +
                       "\",\"requestContext\":" + json::serialize(request) +
                       ",\"requestPayload\":" + embedded(event.payload);
  if (ending.result != nullptr) {
    record += ",\"responseContext\":" + json::serialize(response_context(*ending.result));
    const std::string payload = embedded(ending.result->payload);
    if (record.size() + payload.size() < kRecordBytesMax) record += ",\"responsePayload\":" + payload;
  }
  return record + "}";
}

Result<std::vector<ports::NewEvent>> follow_ups(const Ending& ending, const model::EventInvokeConfig& config) {
  std::vector<ports::NewEvent> next;
  const bool success = ending.condition == Condition::success;
  const std::string& target = success ? config.on_success : config.on_failure;
  if (target.empty()) return next;
  ASSIGN_OR_RETURN(ports::NewEvent event, follow_up(ending, target, success ? "success" : "failure",
                                                    destination_record(ending, timestamp_z())));
  next.push_back(std::move(event));
  return next;
}

}  // namespace thaw::events
