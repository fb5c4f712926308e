// Lambda's operations on tags: TagResource, UntagResource, ListTags (AWS Lambda API Reference).

#include <boost/json/serialize.hpp>

#include "control/function_settings.h"
#include "gateway/settings_api.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr auto kKind = control::SettingKind::tags;

Result<model::Tags> tags_of(const std::string* stored) {
  if (stored == nullptr) return model::Tags();
  return model::tags_from_json(*stored);
}

Result<std::string> added(const std::string* before, const boost::json::object& more) {
  ASSIGN_OR_RETURN(model::Tags tags, tags_of(before));
  RETURN_IF_ERROR(model::add_tags(more, tags));
  return boost::json::serialize(model::to_json(tags));
}

}  // namespace

http::Task<Status> SettingsApi::tags(const Call& call) {
  if (!call.qualifier.empty())
    co_return invalid_argument("Tags on function aliases and versions are not supported: give the function's ARN");
  if (call.method == "POST") co_return co_await add_tags(call);
  if (call.method == "DELETE") co_return co_await remove_tags(call);
  if (call.method != "GET") co_return no_method();
  const auto tags = control::tags(catalog_, call.name);
  if (!tags.ok()) co_return tags.error();
  boost::json::object answer;
  answer["Tags"] = model::to_json(*tags);
  co_return co_await answer_json(call.exchange, 200, answer);
}

http::Task<Status> SettingsApi::add_tags(const Call& call) {
  const auto body = co_await read_json(call.exchange);
  if (!body.ok()) co_return body.error();
  const boost::json::value* more = body->if_contains("Tags");
  if (more == nullptr || !more->is_object()) co_return invalid_argument("Tags is missing, or no object");
  const Status done =
      co_await edit(call, kKind, [&](const std::string* before) { return added(before, more->get_object()); });
  if (!done.ok()) co_return done;
  co_return co_await call.exchange.respond({.status = 204});
}

http::Task<Status> SettingsApi::remove_tags(const Call& call) {
  if (!has(call.query, "tagKeys")) co_return invalid_argument("tagKeys is missing");
  const Status done = co_await edit(call, kKind, [&](const std::string* before) -> Result<std::string> {
    ASSIGN_OR_RETURN(model::Tags tags, tags_of(before));
    for (const auto& [key, value] : call.query) {
      if (key == "tagKeys") tags.erase(value);
    }
    return boost::json::serialize(model::to_json(tags));
  });
  if (!done.ok()) co_return done;
  co_return co_await call.exchange.respond({.status = 204});
}

}  // namespace thaw::gateway
