// Settings of a function that are no part of its versions, as values: how it answers at its URL, and what becomes of
// the events that it is sent without waiting. Members, limits and rules are AWS Lambda's ("CreateFunctionUrlConfig",
// "PutFunctionEventInvokeConfig", AWS Lambda API Reference) unless said otherwise.
//
// A setting's JSON has the members' names of Lambda's API. apply() takes a request's body, in which what is missing
// stays as it is; to_json() and …_from_json() are the stored form.
//
// Ownership: plain values. Threads: any. Errors: apply() gives invalid_argument, naming the member and the limit;
// …_from_json() corrupt.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/destination.h"

namespace thaw::model {

inline constexpr std::uint32_t kCorsMaxAgeSecondsMax = 86400;
inline constexpr std::size_t kCorsListMax = 100;  // of headers, and of origins
inline constexpr std::size_t kCorsMethodsMax = 6;
inline constexpr std::size_t kCorsHeaderBytesMax = 1024;
inline constexpr std::size_t kCorsOriginBytesMax = 253;
inline constexpr std::uint32_t kEventAgeSecondsMin = 60;
inline constexpr std::uint32_t kEventAgeSecondsMax = 21600;
inline constexpr std::uint32_t kRetryAttemptsMax = 2;
// Invocations at a time, of all functions together: Lambda's default, and what reservations must leave for the others
// ("Lambda quotas", "Configuring reserved concurrency", AWS Lambda Developer Guide).
inline constexpr std::uint32_t kConcurrentExecutionsDefault = 1000;
inline constexpr std::uint32_t kConcurrentExecutionsMax = 1'000'000;
inline constexpr std::uint32_t kUnreservedExecutionsMin = 100;

enum class UrlAuthType : std::uint8_t { none, aws_iam };
enum class InvokeMode : std::uint8_t { buffered, response_stream };
// As Lambda's API writes them: "NONE", "AWS_IAM", "BUFFERED", "RESPONSE_STREAM".
std::string_view to_string(UrlAuthType type);
std::string_view to_string(InvokeMode mode);

// Which web pages may call the function. Every text is printable ASCII: it can stand in a header as it is.
struct Cors {
  bool allow_credentials = false;
  std::vector<std::string> allow_headers;
  std::vector<std::string> allow_methods;  // GET, PUT, HEAD, POST, PATCH, DELETE or "*"
  std::vector<std::string> allow_origins;  // "https://www.example.com", "*"
  std::vector<std::string> expose_headers;
  std::optional<std::uint32_t> max_age_s;  // how long a browser may keep the answer; not given: it is not told

  bool operator==(const Cors&) const = default;
};

struct FunctionUrlConfig {
  UrlAuthType auth_type = UrlAuthType::none;
  InvokeMode invoke_mode = InvokeMode::buffered;
  std::optional<Cors> cors;  // without it no web page of another origin may call
  // ISO 8601, as timestamp_now() writes them.
  std::string creation_time;
  std::string last_modified_time;

  bool operator==(const FunctionUrlConfig&) const = default;
};

// AuthType, InvokeMode, Cors. Cors replaces the whole of the one before; an empty one takes it away.
Status apply(const boost::json::object& body, FunctionUrlConfig& config);
boost::json::object to_json(const FunctionUrlConfig& config);
Result<FunctionUrlConfig> function_url_from_json(std::string_view text);

struct EventInvokeConfig {
  // What is not given is Lambda's default for the one who runs the events: 21,600 s, 2 retries.
  std::optional<std::uint32_t> maximum_event_age_s;
  std::optional<std::uint32_t> maximum_retry_attempts;
  // Where records of invocations go (destination.h); empty: nowhere.
  std::string on_success;
  std::string on_failure;
  std::int64_t last_modified_s = 0;  // seconds since 1970

  bool operator==(const EventInvokeConfig&) const = default;
};

// MaximumEventAgeInSeconds, MaximumRetryAttempts, DestinationConfig {OnSuccess, OnFailure}. At least one must be there.
Status apply(const boost::json::object& body, EventInvokeConfig& config);
boost::json::object to_json(const EventInvokeConfig& config);
Result<EventInvokeConfig> event_invoke_from_json(std::string_view text);

// How many invocations at a time are a function's own, and its most.
struct ReservedConcurrency {
  std::uint32_t executions = 0;

  bool operator==(const ReservedConcurrency&) const = default;
};

// ReservedConcurrentExecutions, which must be there.
Status apply(const boost::json::object& body, ReservedConcurrency& reserved);
boost::json::object to_json(const ReservedConcurrency& reserved);
Result<ReservedConcurrency> reserved_concurrency_from_json(std::string_view text);

// How many environments of a version are kept initialised.
struct ProvisionedConcurrency {
  std::uint32_t executions = 0;
  std::string last_modified;  // ISO 8601, as timestamp_now() writes it

  bool operator==(const ProvisionedConcurrency&) const = default;
};

// ProvisionedConcurrentExecutions, which must be there.
Status apply(const boost::json::object& body, ProvisionedConcurrency& provisioned);
boost::json::object to_json(const ProvisionedConcurrency& provisioned);
Result<ProvisionedConcurrency> provisioned_concurrency_from_json(std::string_view text);

}  // namespace thaw::model
