// The control API's operations on published versions and aliases: Lambda's PublishVersion, ListVersionsByFunction,
// CreateAlias, ListAliases, GetAlias, UpdateAlias, DeleteAlias, and DeleteFunction of one version.

#include <algorithm>
#include <boost/json/array.hpp>

#include "base/log.h"
#include "gateway/control_api.h"
#include "gateway/control_request.h"
#include "gateway/function_json.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

Error no_alias(model::QualifiedName name) {
  return {ErrorKind::not_found, "Alias not found: " + std::string(name.function) + ":" + std::string(name.qualifier)};
}

// {"AdditionalVersionWeights": {"2": 0.1}}; no weight inside, or null, takes it away.
Result<std::optional<model::WeightedVersion>> weights_of(const json::value& routing) {
  std::optional<model::WeightedVersion> additional;
  if (routing.is_null()) return additional;
  if (!routing.is_object()) return invalid_argument("RoutingConfig must be an object");
  const json::value* weights = routing.get_object().if_contains("AdditionalVersionWeights");
  if (weights == nullptr || weights->is_null()) return additional;
  if (!weights->is_object()) return invalid_argument("AdditionalVersionWeights must be an object");
  if (weights->get_object().size() > 1)
    return invalid_argument("AdditionalVersionWeights may name one version, beside FunctionVersion");
  for (const auto& [version, weight] : weights->get_object()) {
    if (!weight.is_number()) return invalid_argument("AdditionalVersionWeights must be weights from 0 to 1");
    additional = model::WeightedVersion{std::string(version), weight.to_number<double>()};
  }
  return additional;
}

// The members that CreateAlias and UpdateAlias have in common.
Result<control::Catalog::AliasChange> alias_change(const json::object& body) {
  control::Catalog::AliasChange change;
  ASSIGN_OR_RETURN(change.function_version, string_of(body, "FunctionVersion"));
  ASSIGN_OR_RETURN(change.description, string_of(body, "Description"));
  if (const json::value* routing = body.if_contains("RoutingConfig")) {
    ASSIGN_OR_RETURN(change.additional, weights_of(*routing));
  }
  return change;
}

// Where a page begins: at the first item behind the marker, which may name one that is gone by now.
template <class Items, class IsBehind>
std::size_t first_behind(const Items& items, IsBehind is_behind) {
  return static_cast<std::size_t>(std::find_if(items.begin(), items.end(), is_behind) - items.begin());
}

}  // namespace

http::Task<Status> ControlApi::dispatch_versions(http::Exchange& exchange, const std::string& name,
                                                 std::string_view rest, const Query& query) {
  const std::string_view method = exchange.request().method;
  constexpr std::string_view kAliases = "/aliases";
  if (rest == "/versions" && method == "POST") co_return co_await publish(exchange, name);
  if (rest == "/versions" && method == "GET") co_return co_await list_versions(exchange, name, query);
  if (rest == kAliases && method == "POST") co_return co_await create_alias(exchange, name);
  if (rest == kAliases && method == "GET") co_return co_await list_aliases(exchange, name, query);
  if (rest == "/versions" || rest == kAliases) co_return no_method();
  if (!rest.starts_with("/aliases/")) co_return Error{ErrorKind::not_found, "the control API has no such path"};
  const auto alias = http::percent_decode(rest.substr(kAliases.size() + 1));
  if (!alias.ok()) co_return alias.error();
  if (!http::is_utf8(*alias)) co_return invalid_argument("the alias's name is not UTF-8");
  if (method == "PUT") co_return co_await update_alias(exchange, name, *alias);
  if (method != "GET" && method != "DELETE") co_return no_method();
  if (catalog_.find(name) == nullptr) co_return no_function(name);
  const auto found = catalog_.find_alias({name, *alias});
  if (!found) co_return no_alias({name, *alias});
  if (method == "GET") co_return co_await answer_json(exchange, 200, alias_configuration(name, *found));
  const Status removed = co_await http::off_loop(workers_, exchange.loop(), [&] {
    return catalog_.remove_alias({name, *alias});
  });
  if (!removed.ok()) co_return removed;
  provisioner_.follow();
  co_return co_await exchange.respond({.status = 204});
}

http::Task<Status> ControlApi::publish(http::Exchange& exchange, const std::string& name) {
  const auto body = co_await read_json(exchange);
  if (!body.ok()) co_return body.error();
  const auto description = string_of(*body, "Description");
  if (!description.ok()) co_return description.error();
  const auto digest = string_of(*body, "CodeSha256");
  if (!digest.ok()) co_return digest.error();
  const auto revision = string_of(*body, "RevisionId");
  if (!revision.ok()) co_return revision.error();
  const auto latest = catalog_.find(name);
  if (latest == nullptr) co_return no_function(name);
  control::Catalog::Publish request{
      .name = name, .description = description->value_or(""), .revision_id = revision->value_or("")};
  if (digest->has_value()) {
    if (**digest != base64_of_hex(code_digest(*latest))) {
      co_return invalid_argument("CodeSha256 is different from that of $LATEST (" +
                                 base64_of_hex(code_digest(*latest)) + ")");
    }
    request.code_sha256 = latest->code_sha256;
  }
  const auto version = co_await http::off_loop(workers_, exchange.loop(), [&] { return catalog_.publish(request); });
  if (!version.ok()) co_return version.error();
  if (pool_.snapshots() != nullptr) pool_.snapshots()->add(std::make_shared<const model::FunctionRecord>(*version));
  log::info("version_published name={} version={}", version->config.name, version->version);
  co_return co_await answer_json(exchange, 201, configuration(*version, version->version));
}

http::Task<Status> ControlApi::list_versions(http::Exchange& exchange, const std::string& name, const Query& query) {
  const auto count = number_of(query, "MaxItems", kListItemsDefault, kListItemsMax);
  if (!count.ok()) co_return count.error();
  const auto latest = catalog_.find(name);
  if (latest == nullptr) co_return no_function(name);
  auto versions = catalog_.versions(name);
  versions.insert(versions.begin(), latest);
  const std::string marker = value_of(query, "Marker");
  // $LATEST, which has no number, comes first.
  const std::uint64_t seen = model::version_number(marker).value_or(0);
  std::size_t at = first_behind(versions, [&](const auto& one) {
    return marker.empty() || model::version_number(one->version).value_or(0) > seen;
  });
  json::array page;
  for (; at < versions.size() && page.size() < *count; ++at)
    page.push_back(configuration(*versions[at], versions[at]->version));
  json::object answer{{"Versions", std::move(page)}};
  if (at < versions.size()) answer["NextMarker"] = versions[at - 1]->version;
  co_return co_await answer_json(exchange, 200, answer);
}

http::Task<Status> ControlApi::remove_version(http::Exchange& exchange, const std::string& name,
                                              const std::string& qualifier) {
  const auto number = model::version_number(qualifier);
  if (!number) {
    co_return invalid_argument(
        "Qualifier must be the number of a version: $LATEST goes with its function, an alias is deleted as an alias");
  }
  const Status removed = co_await http::off_loop(workers_, exchange.loop(), [&] {
    const auto record = catalog_.find({name, qualifier}, 1);
    Status status = catalog_.remove_version(name, *number);
    if (status.ok() && record != nullptr) pool_.forget(*record);
    return status;
  });
  if (!removed.ok()) co_return removed;
  log::info("version_deleted name={} version={}", name, qualifier);
  co_return co_await exchange.respond({.status = 204});
}

http::Task<Status> ControlApi::create_alias(http::Exchange& exchange, const std::string& name) {
  const auto body = co_await read_json(exchange);
  if (!body.ok()) co_return body.error();
  const auto alias_name = string_of(*body, "Name");
  if (!alias_name.ok()) co_return alias_name.error();
  auto given = alias_change(*body);
  if (!given.ok()) co_return given.error();
  if (!given->function_version) co_return invalid_argument("FunctionVersion is missing: an alias needs one");
  model::Alias alias{.name = alias_name->value_or(""),
                     .function_version = *given->function_version,
                     .description = given->description.value_or(""),
                     .additional = given->additional.value_or(std::nullopt)};
  const auto made =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return catalog_.create_alias(name, alias); });
  if (!made.ok()) co_return made.error();
  log::info("alias_created name={} alias={} version={}", name, made->name, made->function_version);
  co_return co_await answer_json(exchange, 201, alias_configuration(name, *made));
}

http::Task<Status> ControlApi::update_alias(http::Exchange& exchange, const std::string& name,
                                            const std::string& alias) {
  const auto body = co_await read_json(exchange);
  if (!body.ok()) co_return body.error();
  auto change = alias_change(*body);
  if (!change.ok()) co_return change.error();
  const auto revision = string_of(*body, "RevisionId");
  if (!revision.ok()) co_return revision.error();
  change->alias = alias;
  change->revision_id = revision->value_or("");
  const auto made =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return catalog_.update_alias(name, *change); });
  if (!made.ok()) co_return made.error();
  provisioner_.follow();
  log::info("alias_updated name={} alias={} version={}", name, made->name, made->function_version);
  co_return co_await answer_json(exchange, 200, alias_configuration(name, *made));
}

http::Task<Status> ControlApi::list_aliases(http::Exchange& exchange, const std::string& name, const Query& query) {
  const auto count = number_of(query, "MaxItems", kListItemsDefault, kListItemsMax);
  if (!count.ok()) co_return count.error();
  if (catalog_.find(name) == nullptr) co_return no_function(name);
  auto aliases = catalog_.aliases(name);
  const std::string version = value_of(query, "FunctionVersion");
  std::erase_if(aliases, [&](const model::Alias& alias) { return !version.empty() && !alias.names(version); });
  const std::string marker = value_of(query, "Marker");
  std::size_t at = first_behind(aliases, [&](const auto& one) { return one.name > marker; });
  json::array page;
  for (; at < aliases.size() && page.size() < *count; ++at) page.push_back(alias_configuration(name, aliases[at]));
  json::object answer{{"Aliases", std::move(page)}};
  if (at < aliases.size()) answer["NextMarker"] = aliases[at - 1].name;
  co_return co_await answer_json(exchange, 200, answer);
}

}  // namespace thaw::gateway
