// OpenAI's API on the gateway: the "model" of a request names a function, as NAME or NAME:QUALIFIER, and the request
// goes on to it as /fn/NAME/v1/… would take it there, body and path unchanged.
//
//   POST /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses, … : any path with a JSON body
//   GET  /v1/models, /v1/models/MODEL                                              the functions that may answer
//
// Which function answers is known only once the whole body has been read, so it is held until the function has it:
// kOpenAiBodyBytesMax each, kOpenAiBodiesBytesMax together.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/catalog.h"
#include "http/server.h"

namespace thaw::gateway {

// Far above what text needs; room for pictures in base64.
inline constexpr std::uint64_t kOpenAiBodyBytesMax = 32ULL << 20;
inline constexpr std::uint64_t kOpenAiBodiesBytesMax = 512ULL << 20;
// The code of OpenAI's errors about a path.
inline constexpr char kUnknownUrl[] = "unknown_url";

// Whether a function may answer on /v1: any web function may, but those of an engine that is known not to.
bool may_speak_openai(const model::FunctionConfig& config);

// A request body in memory, counted against the bound of all. Ownership: the bytes; the count outlives it.
class HeldBody {
 public:
  explicit HeldBody(std::atomic<std::uint64_t>& held_bytes) : held_bytes_(&held_bytes) {}
  HeldBody(HeldBody&& other) noexcept;
  HeldBody& operator=(HeldBody&&) = delete;
  ~HeldBody() { release(); }

  // Errors: overloaded when all bodies together would take more than kOpenAiBodiesBytesMax.
  Status append(std::string_view piece);
  std::string_view bytes() const { return bytes_; }
  // Gives the memory back.
  void release();

 private:
  std::atomic<std::uint64_t>* held_bytes_;
  std::string bytes_;
  std::uint64_t counted_ = 0;
};

// Ownership: borrows the catalog. Threads: any loop. Errors: in OpenAI's terms (answer_openai_error()).
class OpenAiApi {
 public:
  // body_bytes_max: of requests to functions in general; 0 is no bound.
  OpenAiApi(control::Catalog& catalog, std::uint64_t body_bytes_max);

  struct Call {
    std::string function_name;
    std::string qualifier;  // percent-encoded as a Route has it; empty where there is none
    HeldBody body;
  };
  // Reads the body of a request and finds out whom it is for. Errors: invalid_argument, too_large, overloaded,
  // not_found; as Exchange::read_body()'s when the client goes away.
  http::Task<Result<Call>> read_call(http::Exchange& exchange);
  // GET. Errors: not_found for a model or a path that is not there.
  http::Task<Status> get(http::Exchange& exchange, std::string_view target, std::string_view request_id);

 private:
  http::Task<Status> list_models(http::Exchange& exchange, const std::string& id_field);

  control::Catalog& catalog_;
  const std::uint64_t body_bytes_max_;
  std::atomic<std::uint64_t> held_bytes_{0};
};

}  // namespace thaw::gateway
