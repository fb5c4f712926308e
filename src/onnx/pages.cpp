#include "onnx/pages.h"

#include <fmt/format.h>

#include <array>

#include "base/sys.h"
#include "onnx/api_json.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::onnx {
namespace {

constexpr std::size_t kAssetBytesMax = 8 << 20;

struct Asset {
  std::string_view name;
  std::string_view content_type;
};
constexpr std::array<Asset, 3> kAssets = {{{"swagger-ui.css", "text/css; charset=utf-8"},
                                           {"swagger-ui-bundle.js", "text/javascript; charset=utf-8"},
                                           {"favicon-32x32.png", "image/png"}}};

// All addresses are relative to /docs, so that the page works behind any prefix.
constexpr std::string_view kDocsPage = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>thaw-onnx</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
)";
constexpr std::string_view kDocsScript =
    "SwaggerUIBundle({url: 'openapi.json', dom_id: '#swagger-ui', deepLinking: true, tryItOutEnabled: true});\n";
constexpr std::string_view kDocsFields =
    "Content-Security-Policy: default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'\r\n"
    "X-Content-Type-Options: nosniff\r\n";
constexpr std::string_view kAssetFields = "Cache-Control: max-age=3600\r\nX-Content-Type-Options: nosniff\r\n";

Error not_found(std::string message) { return {ErrorKind::not_found, std::move(message)}; }

}  // namespace

http::Task<> respond_error(http::Exchange& exchange, const Error& error, std::string body) {
  const std::string_view extra = error.kind == ErrorKind::overloaded ? "Retry-After: 1\r\n" : "";
  (void)co_await exchange.respond({.status = http_status(error.kind), .body = body, .extra_fields = extra});
}

http::Task<> respond_method_not_allowed(http::Exchange& exchange, std::string_view allowed) {
  const std::string body = error_json(invalid_argument(fmt::format("the method must be one of {}", allowed)), {});
  const std::string extra = fmt::format("Allow: {}\r\n", allowed);
  (void)co_await exchange.respond({.status = 405, .body = body, .extra_fields = extra});
}

http::Task<> Pages::serve(http::Exchange& exchange, std::string_view path) const {
  const std::string_view method = exchange.request().method;
  const bool known = path == "/" || path == "/docs" || path == "/openapi.json" || path == "/healthz";
  if (method == "GET" || method == "HEAD") {
    co_await serve_page(exchange, path);
  } else if (known) {
    co_await respond_method_not_allowed(exchange, "GET, HEAD");
  } else {
    const Error error = not_found("there is nothing at this path; see /docs");
    co_await respond_error(exchange, error, error_json(error, {}));
  }
}

http::Task<> Pages::serve_page(http::Exchange& exchange, std::string_view path) const {
  if (path == "/") {
    (void)co_await exchange.respond({.body = texts_.hello});
  } else if (path == "/healthz") {
    (void)co_await exchange.respond({.body = "{\"status\":\"ok\"}\n"});
  } else if (path == "/openapi.json") {
    (void)co_await exchange.respond({.body = texts_.openapi});
  } else if (path == "/docs") {
    (void)co_await exchange.respond(
        {.content_type = "text/html; charset=utf-8", .body = kDocsPage, .extra_fields = kDocsFields});
  } else if (path == "/docs/") {
    (void)co_await exchange.respond({.status = 307, .extra_fields = "Location: ../docs\r\n"});
  } else if (path.starts_with("/docs/")) {
    co_await serve_asset(exchange, path.substr(6));
  } else {
    const Error error = not_found("there is nothing at this path; see /docs");
    co_await respond_error(exchange, error, error_json(error, {}));
  }
}

http::Task<> Pages::serve_asset(http::Exchange& exchange, std::string_view name) const {
  if (name == "start.js") {
    (void)co_await exchange.respond({.content_type = "text/javascript; charset=utf-8",
                                     .body = kDocsScript,
                                     .extra_fields = "X-Content-Type-Options: nosniff\r\n"});
    co_return;
  }
  for (const Asset& asset : kAssets) {
    if (asset.name != name || swagger_ui_.empty()) continue;
    const auto bytes = sys::read_file(fmt::format("{}/{}", swagger_ui_, name), kAssetBytesMax);
    if (!bytes.ok()) break;
    (void)co_await exchange.respond({.content_type = asset.content_type, .body = *bytes, .extra_fields = kAssetFields});
    co_return;
  }
  const Error error = not_found("no such file of Swagger UI; /openapi.json describes the API");
  co_await respond_error(exchange, error, error_json(error, {}));
}

}  // namespace thaw::onnx
