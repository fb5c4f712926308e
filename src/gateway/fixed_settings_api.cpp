// Settings of Lambda's that have one value here, which is given back, and of which every other is refused by name:
// GetRuntimeManagementConfig, PutRuntimeManagementConfig, GetFunctionRecursionConfig, PutFunctionRecursionConfig,
// GetFunctionCodeSigningConfig, PutFunctionCodeSigningConfig, DeleteFunctionCodeSigningConfig (AWS Lambda API
// Reference).

#include "gateway/function_json.h"
#include "gateway/settings_api.h"
#include "model/object_reader.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr std::size_t kTextBytesMax = 2048;

Status check_runtime_management(const boost::json::object& body) {
  model::ObjectReader reader(body);
  ASSIGN_OR_RETURN(const auto mode, reader.text("UpdateRuntimeOn", {.bytes_max = 32}));
  ASSIGN_OR_RETURN(const auto arn, reader.text("RuntimeVersionArn", {.bytes_max = kTextBytesMax}));
  RETURN_IF_ERROR(reader.finish());
  if (!mode || (*mode != "Auto" && *mode != "Manual" && *mode != "FunctionUpdate"))
    return invalid_argument("UpdateRuntimeOn must be Auto, Manual or FunctionUpdate");
  if (*mode == "Auto" && !arn) return {};
  return invalid_argument(
      "UpdateRuntimeOn must be Auto, without RuntimeVersionArn: managed runtimes run on the machine's interpreters, of "
      "which there are no other versions to keep");
}

Status check_recursion(const boost::json::object& body) {
  model::ObjectReader reader(body);
  ASSIGN_OR_RETURN(const auto loop, reader.text("RecursiveLoop", {.bytes_max = 32}));
  RETURN_IF_ERROR(reader.finish());
  if (!loop || (*loop != "Allow" && *loop != "Terminate"))
    return invalid_argument("RecursiveLoop must be Allow or Terminate");
  if (*loop == "Allow") return {};
  return invalid_argument("RecursiveLoop must be Allow: functions that call themselves are not looked for");
}

}  // namespace

http::Task<Status> SettingsApi::fixed(const Call& call, Status (*check)(const boost::json::object&),
                                      boost::json::object answer) {
  if (call.method == "PUT") {
    const auto body = co_await read_json(call.exchange);
    if (!body.ok()) co_return body.error();
    if (const Status possible = check(*body); !possible.ok()) co_return possible;
  } else if (call.method != "GET") {
    co_return no_method();
  }
  co_return co_await answer_json(call.exchange, 200, answer);
}

http::Task<Status> SettingsApi::runtime_management(const Call& call) {
  boost::json::object answer;
  answer["UpdateRuntimeOn"] = "Auto";
  answer["FunctionArn"] = function_arn(call.name, call.qualifier.empty() ? model::kLatestVersion : call.qualifier);
  return fixed(call, check_runtime_management, std::move(answer));
}

http::Task<Status> SettingsApi::recursion(const Call& call) {
  boost::json::object answer;
  answer["RecursiveLoop"] = "Allow";
  return fixed(call, check_recursion, std::move(answer));
}

http::Task<Status> SettingsApi::code_signing(const Call& call) {
  if (call.method == "PUT") {
    co_return Error{ErrorKind::not_found, "there are no code signing configurations: packages are not signed",
                    "CodeSigningConfigNotFoundException"};
  }
  if (call.method == "DELETE") co_return co_await call.exchange.respond({.status = 204});
  if (call.method != "GET") co_return no_method();
  boost::json::object answer;
  answer["CodeSigningConfigArn"] = "";
  answer["FunctionName"] = call.name;
  co_return co_await answer_json(call.exchange, 200, answer);
}

}  // namespace thaw::gateway
