#include "gateway/openai_api.h"

#include <algorithm>

#include "base/timestamp.h"
#include "gateway/answers.h"
#include "gateway/model_finder.h"
#include "http/message.h"
#include "model/manifest.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr std::string_view kModels = "/v1/models";
// Records that are copied at a time for the list.
constexpr std::size_t kModelsPage = 200;

Error unknown_url() {
  return {ErrorKind::not_found,
          "there is no such path here: /v1 takes GET /v1/models, and POST with a JSON body that names a model",
          kUnknownUrl};
}

std::string model_json(std::string_view id, const model::FunctionRecord& record) {
  return "{\"id\":" + json_quoted(id) +
         ",\"object\":\"model\",\"created\":" + std::to_string(unix_seconds(record.last_modified).value_or(0)) +
         ",\"owned_by\":\"thaw\"}";
}

// "NAME:QUALIFIER" in its parts.
std::pair<std::string_view, std::string_view> split_model(std::string_view model) {
  const std::size_t colon = model.find(':');
  if (colon == std::string_view::npos) return {model, {}};
  return {model.substr(0, colon), model.substr(colon + 1)};
}

Status check_body_type(const http::RequestHead& request) {
  const std::string_view type = request.fields.find("content-type");
  constexpr std::string_view kMultipart = "multipart/";
  if (http::iequals(type.substr(0, kMultipart.size()), kMultipart)) {
    return invalid_argument(
        "forms (multipart) are not taken at /v1, which finds the function by a JSON body's model: send this to "
        "/fn/NAME/v1/… instead");
  }
  const std::string_view encoding = request.fields.find("content-encoding");
  if (!encoding.empty() && !http::iequals(encoding, "identity"))
    return invalid_argument("the request body must not be compressed (Content-Encoding)");
  return {};
}

}  // namespace

bool may_speak_openai(const model::FunctionConfig& config) {
  return config.kind == model::FunctionKind::web && config.engine != model::kEngineOnnx;
}

HeldBody::HeldBody(HeldBody&& other) noexcept
    : held_bytes_(other.held_bytes_), bytes_(std::move(other.bytes_)), counted_(std::exchange(other.counted_, 0)) {
  other.bytes_.clear();
}

Status HeldBody::append(std::string_view piece) {
  // What the string takes when it grows, by its own rule of doubling.
  const std::uint64_t needed = bytes_.size() + piece.size();
  if (needed > counted_) {
    const std::uint64_t grown = std::max(needed, 2 * counted_);
    const std::uint64_t before = held_bytes_->fetch_add(grown - counted_);
    if (before + grown - counted_ > kOpenAiBodiesBytesMax) {
      held_bytes_->fetch_sub(grown - counted_);
      return Error{ErrorKind::overloaded, "the requests that are being read take " +
                                              std::to_string(kOpenAiBodiesBytesMax >> 20) + " MB already: retry later"};
    }
    counted_ = grown;
    bytes_.reserve(grown);
  }
  bytes_.append(piece);
  return {};
}

void HeldBody::release() {
  std::string().swap(bytes_);
  held_bytes_->fetch_sub(std::exchange(counted_, 0));
}

OpenAiApi::OpenAiApi(control::Catalog& catalog, std::uint64_t body_bytes_max)
    : catalog_(catalog),
      body_bytes_max_(body_bytes_max == 0 ? kOpenAiBodyBytesMax : std::min(body_bytes_max, kOpenAiBodyBytesMax)) {}

http::Task<Result<OpenAiApi::Call>> OpenAiApi::read_call(http::Exchange& exchange) {
  if (exchange.request().method != "POST") co_return unknown_url();
  if (Status type = check_body_type(exchange.request()); !type.ok()) co_return type.error();
  const auto too_large = [&] {
    return Error(ErrorKind::too_large,
                 "the request body is larger than " + std::to_string(body_bytes_max_ >> 20) + " MB, the limit of /v1");
  };
  if (!exchange.set_body_bytes_max(body_bytes_max_)) co_return too_large();
  HeldBody body(held_bytes_);
  ModelFinder finder;
  for (;;) {
    const auto piece = co_await exchange.read_body();
    if (!piece.ok() && piece.error().kind == ErrorKind::too_large) co_return too_large();
    if (!piece.ok()) co_return piece.error();
    if (piece->empty()) break;
    if (Status taken = finder.write(*piece); !taken.ok()) co_return taken.error();
    if (Status held = body.append(*piece); !held.ok()) co_return held.error();
  }
  const auto model = finder.finish();
  if (!model.ok()) co_return model.error();
  const auto [name, qualifier] = split_model(*model);
  Call call{std::string(name), http::percent_encode(qualifier), std::move(body)};
  co_return std::move(call);
}

http::Task<Status> OpenAiApi::get(http::Exchange& exchange, std::string_view target, std::string_view request_id) {
  const auto split = http::split_target(target);
  if (!split.ok()) co_return split.error();
  const std::string id_field = "x-request-id: " + std::string(request_id) + "\r\n";
  if (split->path == kModels || split->path == std::string(kModels) + "/")
    co_return co_await list_models(exchange, id_field);
  if (!split->path.starts_with(std::string(kModels) + "/")) co_return unknown_url();
  const auto model = http::percent_decode(split->path.substr(kModels.size() + 1));
  if (!model.ok()) co_return model.error();
  const auto [name, qualifier] = split_model(*model);
  // Of a weighted alias its own version, as in the control API.
  const auto record = qualifier.empty() ? catalog_.find(name) : catalog_.find({name, qualifier}, 1);
  if (record == nullptr || !may_speak_openai(record->config)) co_return no_model(*model);
  const std::string id = record->config.name + (qualifier.empty() ? "" : ":" + std::string(qualifier));
  const std::string body = model_json(id, *record) + "\n";
  co_return co_await exchange.respond({.body = body, .extra_fields = id_field});
}

// Page by page, so that ten thousand functions need no more memory than two hundred.
http::Task<Status> OpenAiApi::list_models(http::Exchange& exchange, const std::string& id_field) {
  Status sent;
  std::string marker;
  std::string text = "{\"object\":\"list\",\"data\":[";
  bool first = true;
  for (bool more = true; more;) {
    const auto page = catalog_.list(marker, kModelsPage);
    if (!page.ok() && exchange.responded()) exchange.reset_after();
    if (!page.ok()) co_return page.error();
    for (const model::FunctionRecord& record : page->functions) {
      if (!may_speak_openai(record.config)) continue;
      if (!std::exchange(first, false)) text += ',';
      text += model_json(record.config.name, record);
    }
    marker = page->next_marker;
    more = !marker.empty();
    if (!more) text += "]}\n";
    if (!more && !exchange.responded()) co_return co_await exchange.respond({.body = text, .extra_fields = id_field});
    if (!exchange.responded()) {
      sent = co_await exchange.start_stream({.extra_fields = id_field});
      if (!sent.ok()) co_return sent;
    }
    sent = co_await exchange.write_stream(text);
    if (!sent.ok()) co_return sent;
    text.clear();
  }
  co_return co_await exchange.finish_stream();
}

}  // namespace thaw::gateway
