// The control API's operations that make and change functions: Lambda's CreateFunction, UpdateFunctionCode and
// UpdateFunctionConfiguration.

#include <boost/json/serialize.hpp>

#include "base/log.h"
#include "gateway/code_intake.h"
#include "gateway/control_api.h"
#include "gateway/control_request.h"
#include "gateway/function_json.h"
#include "gateway/function_name.h"
#include "gateway/function_request.h"
#include "gateway/layer_name.h"
#include "gateway/zip_body.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {

namespace json = boost::json;

namespace {

// What they are from now on; nothing when the request says nothing.
Result<std::optional<std::vector<model::LayerUse>>> layers_of(const json::object& body) {
  const json::value* layers = body.if_contains("Layers");
  if (layers == nullptr || layers->is_null()) return std::optional<std::vector<model::LayerUse>>();
  ASSIGN_OR_RETURN(auto uses, parse_layers(*layers));
  return std::optional(std::move(uses));
}

Result<model::Tags> tags_of(const json::object& body) {
  model::Tags tags;
  const json::value* given = body.if_contains("Tags");
  if (given == nullptr || given->is_null()) return tags;
  if (!given->is_object()) return invalid_argument("Tags must be an object");
  RETURN_IF_ERROR(model::add_tags(given->get_object(), tags));
  return tags;
}

}  // namespace

http::Task<Status> ControlApi::create_function(http::Exchange& exchange) {
  const CodeFiles files(workers_, catalog_);
  const auto request = co_await code_.receive(exchange, files, "CreateFunction");
  if (!request.ok()) co_return request.error();
  const json::object& body = request->body;
  const auto given_name = string_of(body, "FunctionName");
  if (!given_name.ok()) co_return given_name.error();
  if (!*given_name) co_return validation_error("functionName", std::nullopt, "Member must not be null");
  const auto name = parse_function_name(**given_name);
  if (!name.ok()) co_return name.error();
  if (const Status fits = check_lambda_name(name->name); !fits.ok()) co_return fits;
  if (const Status complete = check_required(body); !complete.ok()) co_return complete;
  const auto publish = bool_of(body, "Publish", false);
  if (!publish.ok()) co_return publish.error();
  const json::value& code = body.at("Code");
  if (!code.is_object())
    co_return Error{ErrorKind::invalid_argument, "Code must be an object", "SerializationException"};
  model::FunctionConfig config = lambda_defaults();
  config.name = name->name;
  if (const Status applied = apply_configuration(body, config); !applied.ok()) co_return applied;

  auto layers = layers_of(body);
  if (!layers.ok()) co_return layers.error();
  const auto tags = tags_of(body);
  if (!tags.ok()) co_return tags.error();

  control::Catalog::Change change;
  change.layers = std::move(*layers);
  change.kind = control::Catalog::Change::Kind::create;
  change.name = name->name;
  change.edit = [&](model::FunctionConfig& fresh) {
    fresh = config;
    return Status();
  };
  const auto found = co_await code_.find(exchange, code.get_object(), *request, files);
  if (!found.ok()) co_return found.error();
  change.package_path = found->path;
  change.zip = found->zip;
  change.unpacked_bytes_max = kUnzippedBytesMax;
  FinishOptions options;
  options.publish = *publish;
  options.tags = *tags;
  co_return co_await finish_change(exchange, change, options);
}

http::Task<Status> ControlApi::update_code(http::Exchange& exchange, const std::string& name) {
  const CodeFiles files(workers_, catalog_);
  const auto request = co_await code_.receive(exchange, files, "UpdateFunctionCode");
  if (!request.ok()) co_return request.error();
  const json::object& body = request->body;
  const auto publish = bool_of(body, "Publish", false);
  if (!publish.ok()) co_return publish.error();
  const auto dry_run = bool_of(body, "DryRun", false);
  if (!dry_run.ok()) co_return dry_run.error();
  const auto revision = string_of(body, "RevisionId");
  if (!revision.ok()) co_return revision.error();
  if (const Status possible = check_architectures(body); !possible.ok()) co_return possible;
  if (catalog_.find(name) == nullptr) co_return no_function(name);
  control::Catalog::Change change;
  change.name = name;
  change.revision_id = revision->value_or("");
  change.dry_run = *dry_run;
  const auto found = co_await code_.find(exchange, body, *request, files);
  if (!found.ok()) co_return found.error();
  change.package_path = found->path;
  change.zip = found->zip;
  change.unpacked_bytes_max = kUnzippedBytesMax;
  FinishOptions options;
  options.publish = *publish;
  co_return co_await finish_change(exchange, change, options);
}

http::Task<Status> ControlApi::update_configuration(http::Exchange& exchange, const std::string& name) {
  const auto text = co_await exchange.read_whole_body(kJsonWithoutZipBytesMax);
  if (!text.ok()) co_return text.error();
  const auto body = parse_object(*text);
  if (!body.ok()) co_return body.error();
  const auto revision = string_of(*body, "RevisionId");
  if (!revision.ok()) co_return revision.error();
  auto layers = layers_of(*body);
  if (!layers.ok()) co_return layers.error();
  control::Catalog::Change change;
  change.layers = std::move(*layers);
  change.unpacked_bytes_max = kUnzippedBytesMax;
  change.name = name;
  change.revision_id = revision->value_or("");
  change.edit = [&](model::FunctionConfig& config) { return apply_configuration(*body, config); };
  if (catalog_.find(name) == nullptr) co_return no_function(name);
  const FinishOptions options;
  co_return co_await finish_change(exchange, change, options);
}

http::Task<Status> ControlApi::finish_change(http::Exchange& exchange, const control::Catalog::Change& change,
                                             const FinishOptions& options) {
  const bool create = change.kind == control::Catalog::Change::Kind::create;
  const auto record = co_await http::off_loop(workers_, exchange.loop(), [&]() -> Result<model::FunctionRecord> {
    auto changed = catalog_.change(change);
    if (!changed.ok()) return package_error(std::move(changed).error());
    if (change.dry_run) return changed;
    // The revision before is not lent any more; its running invocations finish.
    pool_.retire(pool::PoolKeyView(*changed));
    log::info("{} name={} bytes={}", create ? "function_created" : "function_updated", change.name,
              changed->code_bytes);
    if (!options.tags.empty()) {
      RETURN_IF_ERROR(catalog_.put_setting(
          change.name, {.kind = control::SettingKind::tags, .json = json::serialize(model::to_json(options.tags))}));
    }
    if (!options.publish) return changed;
    return catalog_.publish({.name = change.name, .description = changed->config.description});
  });
  if (!record.ok()) co_return record.error();
  const bool published = record->version != model::kLatestVersion;
  if (published && pool_.snapshots() != nullptr)
    pool_.snapshots()->add(std::make_shared<const model::FunctionRecord>(*record));
  const json::object answer = configuration(*record, published ? record->version : std::string());
  co_return co_await answer_json(exchange, create ? 201 : 200, answer);
}

std::string ControlApi::package_url(const http::Exchange& exchange, const model::FunctionRecord& record) const {
  const std::string version = record.version == model::kLatestVersion ? "%24LATEST" : record.version;
  return url_of(exchange, options_.listen_host + ":" + std::to_string(port_),
                "/thaw/v1/functions/" + record.config.name + "/package?Qualifier=" + version);
}

http::Task<Status> ControlApi::send_package(http::Exchange& exchange, const std::string& name, const Query& query) {
  const auto record = catalog_.find({name, value_of(query, "Qualifier")}, 1);
  if (record == nullptr) co_return no_function(name);
  const auto zip =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return catalog_.open_zip(record->code_sha256); });
  if (!zip.ok()) co_return zip.error();
  co_return co_await send_zip(exchange, workers_, *zip);
}

}  // namespace thaw::gateway
