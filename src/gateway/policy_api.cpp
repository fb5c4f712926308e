// Lambda's operations on resource-based policies: AddPermission, RemovePermission, GetPolicy (AWS Lambda API
// Reference).

#include <boost/json/serialize.hpp>

#include "base/log.h"
#include "base/uuid.h"
#include "gateway/function_json.h"
#include "gateway/settings_api.h"
#include "model/policy.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr auto kKind = control::SettingKind::policy;

Error no_policy() { return {ErrorKind::not_found, "The resource you requested does not exist: it has no policy"}; }

// The policy as it is; it must have the revision, when one is given.
Result<model::Policy> policy_of(const std::string* stored, const std::string& revision_id) {
  model::Policy policy;
  if (stored != nullptr) {
    ASSIGN_OR_RETURN(policy, model::policy_from_json(*stored));
  }
  if (revision_id.empty() || (!policy.empty() && policy.revision_id == revision_id)) return policy;
  return Error{ErrorKind::conflict,
               "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the "
               "latest Revision Id",
               control::kPreconditionFailed};
}

std::string stored_form(model::Policy& policy) {
  policy.revision_id = random_uuid();
  return boost::json::serialize(model::to_json(policy));
}

}  // namespace

http::Task<Status> SettingsApi::policy(const Call& call) {
  if (call.method == "POST") co_return co_await add_permission(call);
  if (call.method != "GET") co_return no_method();
  const auto stored = catalog_.setting(call.name, kKind, call.qualifier);
  const auto policy = policy_of(stored.get(), {});
  if (!policy.ok()) co_return policy.error();
  if (policy->empty()) co_return no_policy();
  boost::json::object answer;
  answer["Policy"] = model::policy_document(*policy);
  answer["RevisionId"] = policy->revision_id;
  co_return co_await answer_json(call.exchange, 200, answer);
}

http::Task<Status> SettingsApi::add_permission(const Call& call) {
  const auto body = co_await read_json(call.exchange);
  if (!body.ok()) co_return body.error();
  const auto revision = string_of(*body, "RevisionId");
  if (!revision.ok()) co_return revision.error();
  const auto statement = model::statement_of(*body, function_arn(call.name, call.qualifier));
  if (!statement.ok()) co_return statement.error();
  const Status done = co_await edit(call, kKind, [&](const std::string* before) -> Result<std::string> {
    ASSIGN_OR_RETURN(model::Policy policy, policy_of(before, revision->value_or("")));
    RETURN_IF_ERROR(model::add_statement(policy, *statement));
    return stored_form(policy);
  });
  if (!done.ok()) co_return done;
  log::info("permission_added name={} qualifier={}", call.name, call.qualifier);
  boost::json::object answer;
  answer["Statement"] = boost::json::serialize(*statement);
  co_return co_await answer_json(call.exchange, 201, answer);
}

http::Task<Status> SettingsApi::remove_permission(const Call& call) {
  if (call.method != "DELETE") co_return no_method();
  const std::string revision = value_of(call.query, "RevisionId");
  const Status done = co_await edit(call, kKind, [&](const std::string* before) -> Result<std::string> {
    ASSIGN_OR_RETURN(model::Policy policy, policy_of(before, revision));
    if (policy.empty()) return no_policy();
    RETURN_IF_ERROR(model::remove_statement(policy, call.rest));
    return stored_form(policy);
  });
  if (!done.ok()) co_return done;
  log::info("permission_removed name={} qualifier={}", call.name, call.qualifier);
  co_return co_await call.exchange.respond({.status = 204});
}

}  // namespace thaw::gateway
