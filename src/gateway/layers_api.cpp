#include "gateway/layers_api.h"

#include <algorithm>
#include <boost/json/array.hpp>

#include "base/log.h"
#include "gateway/function_json.h"
#include "gateway/layer_name.h"
#include "http/off_loop.h"
#include "model/version.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::string_view kLayers = "/2018-10-31/layers";
constexpr std::string_view kOwnLayers = "/thaw/v1/layers/";
constexpr std::string_view kVersions = "/versions";
constexpr std::size_t kItemsMax = 50;  // of a page, Lambda's

Error no_layer() { return {ErrorKind::not_found, "The resource you requested does not exist."}; }

json::array array_of(const std::vector<std::string>& list) { return json::array(list.begin(), list.end()); }

// Lambda's LayerVersionsListItem.
json::object list_item(const model::LayerVersion& layer) {
  json::object item{{"LayerVersionArn", layer_version_arn(layer.name, layer.version)},
                    {"Version", layer.version},
                    {"Description", layer.description},
                    {"CreatedDate", layer.created_at}};
  if (!layer.runtimes.empty()) item["CompatibleRuntimes"] = array_of(layer.runtimes);
  if (!layer.architectures.empty()) item["CompatibleArchitectures"] = array_of(layer.architectures);
  if (!layer.license.empty()) item["LicenseInfo"] = layer.license;
  return item;
}

Result<std::vector<std::string>> texts_of(const json::object& body, std::string_view key) {
  std::vector<std::string> texts;
  const json::value* value = body.if_contains(key);
  if (value == nullptr || value->is_null()) return texts;
  const Error wrong(ErrorKind::invalid_argument, std::string(key) + " must be an array of strings",
                    "SerializationException");
  if (!value->is_array()) return wrong;
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) return wrong;
    texts.emplace_back(item.get_string());
  }
  return texts;
}

Result<model::LayerVersion> layer_of(const json::object& body, const std::string& name) {
  model::LayerVersion layer;
  layer.name = name;
  ASSIGN_OR_RETURN(const auto description, string_of(body, "Description"));
  layer.description = description.value_or("");
  ASSIGN_OR_RETURN(const auto license, string_of(body, "LicenseInfo"));
  layer.license = license.value_or("");
  ASSIGN_OR_RETURN(layer.runtimes, texts_of(body, "CompatibleRuntimes"));
  ASSIGN_OR_RETURN(layer.architectures, texts_of(body, "CompatibleArchitectures"));
  RETURN_IF_ERROR(model::check_layer(layer));
  return layer;
}

// Whether the layer says so, or says nothing at all.
bool fits(const std::vector<std::string>& list, const std::string& asked) {
  return asked.empty() || list.empty() || std::find(list.begin(), list.end(), asked) != list.end();
}

}  // namespace

bool LayersApi::is_path(std::string_view path) {
  if (path.starts_with(kOwnLayers)) return true;
  return path.starts_with(kLayers) && (path.size() == kLayers.size() || path[kLayers.size()] == '/');
}

http::Task<Status> LayersApi::handle(http::Exchange& exchange, std::string_view path, const Query& query) {
  const std::string_view method = exchange.request().method;
  const bool own = path.starts_with(kOwnLayers);
  path.remove_prefix(own ? kOwnLayers.size() : std::min(path.size(), kLayers.size() + 1));
  if (path.empty() && !own) {
    if (method != "GET") co_return no_method();
    if (value_of(query, "find") == "LayerVersion") co_return co_await find(exchange, value_of(query, "Arn"));
    co_return co_await list(exchange, query);
  }
  const std::size_t slash = std::min(path.find('/'), path.size());
  const auto decoded = http::percent_decode(path.substr(0, slash));
  if (!decoded.ok()) co_return decoded.error();
  const auto name = parse_layer_name(*decoded);
  if (!name.ok()) co_return name.error();
  std::string_view rest = path.substr(slash);
  if (!rest.starts_with(kVersions)) co_return Error{ErrorKind::not_found, "the control API has no such path"};
  rest.remove_prefix(kVersions.size());
  if (!rest.empty() && rest.front() == '/') co_return co_await version(exchange, *name, rest.substr(1), own);
  if (!rest.empty() || own) co_return Error{ErrorKind::not_found, "the control API has no such path"};
  if (method == "POST") co_return co_await publish(exchange, *name);
  if (method == "GET") co_return co_await list_versions(exchange, *name, query);
  co_return no_method();
}

http::Task<Status> LayersApi::publish(http::Exchange& exchange, const std::string& name) {
  const CodeFiles files(workers_, catalog_);
  const auto request = co_await code_.receive(exchange, files, "PublishLayerVersion");
  if (!request.ok()) co_return request.error();
  auto layer = layer_of(request->body, name);
  if (!layer.ok()) co_return layer.error();
  const json::value* content = request->body.if_contains("Content");
  if (content == nullptr || !content->is_object())
    co_return invalid_argument("Content is missing: it says where the zip is");
  const auto code = co_await code_.find(exchange, content->get_object(), *request, files);
  if (!code.ok()) co_return code.error();
  layer->zip = code->zip;
  const control::Layers::Publish change{
      .layer = std::move(*layer), .package_path = code->path, .unpacked_bytes_max = kUnzippedBytesMax};
  const auto made = co_await http::off_loop(workers_, exchange.loop(), [&]() -> Result<model::LayerVersion> {
    auto published = catalog_.layers().publish(change);
    if (!published.ok()) return package_error(std::move(published).error());
    return published;
  });
  if (!made.ok()) co_return made.error();
  log::info("layer_published name={} version={} bytes={}", made->name, made->version, made->code_bytes);
  co_return co_await answer(exchange, *made, 201);
}

http::Task<Status> LayersApi::answer(http::Exchange& exchange, const model::LayerVersion& layer, int status) {
  json::object body = list_item(layer);
  body["LayerArn"] = layer_arn(layer.name);
  const std::string path = std::string(kOwnLayers) + layer.name + "/versions/" + std::to_string(layer.version);
  body["Content"] = json::object{{"CodeSize", layer.zip.bytes},
                                 {"CodeSha256", base64_of_hex(layer.zip.sha256)},
                                 {"Location", url_of(exchange, own_host_ + ":" + std::to_string(port_), path)}};
  co_return co_await answer_json(exchange, status, body);
}

http::Task<Status> LayersApi::find(http::Exchange& exchange, const std::string& arn) {
  const auto named = parse_layer_version_arn(arn);
  if (!named.ok()) co_return named.error();
  const auto layer = catalog_.layers().find(named->name, named->version);
  if (!layer) co_return no_layer();
  co_return co_await answer(exchange, *layer, 200);
}

http::Task<Status> LayersApi::version(http::Exchange& exchange, const std::string& name, std::string_view number,
                                      bool own) {
  const std::string_view method = exchange.request().method;
  if (method != "GET" && (method != "DELETE" || own)) co_return no_method();
  const auto version = model::version_number(number);
  if (!version) co_return invalid_argument("VersionNumber must be a number from 1");
  const auto layer = catalog_.layers().find(name, *version);
  if (method == "DELETE") {
    // One that is gone is no error, as Lambda has it.
    if (layer) {
      const Status removed =
          co_await http::off_loop(workers_, exchange.loop(), [&] { return catalog_.layers().remove(name, *version); });
      if (!removed.ok() && removed.error().kind != ErrorKind::not_found) co_return removed;
      log::info("layer_deleted name={} version={}", name, *version);
    }
    co_return co_await exchange.respond({.status = 204});
  }
  if (!layer) co_return no_layer();
  if (!own) co_return co_await answer(exchange, *layer, 200);
  const auto zip =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return catalog_.open_zip(layer->code_sha256); });
  if (!zip.ok()) co_return zip.error();
  co_return co_await send_zip(exchange, workers_, *zip);
}

http::Task<Status> LayersApi::list(http::Exchange& exchange, const Query& query) {
  const auto count = number_of(query, "MaxItems", kItemsMax, kItemsMax);
  if (!count.ok()) co_return count.error();
  const std::string marker = value_of(query, "Marker");
  json::array page;
  json::object body;
  for (const model::LayerVersion& layer : catalog_.layers().newest()) {
    if (layer.name <= marker || !fits(layer.runtimes, value_of(query, "CompatibleRuntime")) ||
        !fits(layer.architectures, value_of(query, "CompatibleArchitecture")))
      continue;
    if (page.size() == *count) {
      body["NextMarker"] = page.back().at("LayerName");
      break;
    }
    page.push_back(json::object{
        {"LayerName", layer.name}, {"LayerArn", layer_arn(layer.name)}, {"LatestMatchingVersion", list_item(layer)}});
  }
  body["Layers"] = std::move(page);
  co_return co_await answer_json(exchange, 200, body);
}

http::Task<Status> LayersApi::list_versions(http::Exchange& exchange, const std::string& name, const Query& query) {
  const auto count = number_of(query, "MaxItems", kItemsMax, kItemsMax);
  if (!count.ok()) co_return count.error();
  // The newest come first: a page goes on below the last number of the one before.
  const std::uint64_t below = model::version_number(value_of(query, "Marker")).value_or(UINT64_MAX);
  json::array page;
  json::object body;
  std::uint64_t last = 0;
  for (const model::LayerVersion& layer : catalog_.layers().versions(name)) {
    if (layer.version >= below || !fits(layer.runtimes, value_of(query, "CompatibleRuntime")) ||
        !fits(layer.architectures, value_of(query, "CompatibleArchitecture")))
      continue;
    if (page.size() == *count) {
      body["NextMarker"] = std::to_string(last);
      break;
    }
    page.push_back(list_item(layer));
    last = layer.version;
  }
  body["LayerVersions"] = std::move(page);
  co_return co_await answer_json(exchange, 200, body);
}

}  // namespace thaw::gateway
