// Requests and responses as an enemy may send them: "TARGET\nNAME: VALUE\n…\n\nBODY" as a request, and the whole input
// as a function's response. Events are always JSON that says what came in; answers never hold a line break in a header.
#include "gateway/http_event.h"

#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/base64.h"
#include "gateway/http_answer.h"

namespace {

using thaw::gateway::PayloadFormat;

void require(bool truth) {
  if (!truth) std::abort();
}

bool is_one_line(std::string_view text) { return text.find_first_of(std::string_view("\r\n\0", 3)) == text.npos; }

void check_event(std::string_view input, PayloadFormat format) {
  thaw::http::RequestHead head;
  head.method = "POST";
  std::string_view target;
  for (bool first = true; !input.empty();) {
    const std::size_t end = std::min(input.find('\n'), input.size());
    const std::string_view line = input.substr(0, end);
    input.remove_prefix(std::min(end + 1, input.size()));
    if (std::exchange(first, false)) {
      target = line;
    } else if (line.empty()) {
      break;
    } else if (const std::size_t colon = line.find(':'); colon != line.npos && colon > 0) {
      head.fields.add(line.substr(0, colon), line.substr(colon + 1));
    }
  }
  if (target.empty() || target.front() != '/' || !thaw::http::is_utf8(target)) return;
  const bool old = format == PayloadFormat::v1;
  const auto event = thaw::gateway::http_event({.head = head,
                                                .target = target,
                                                .prefix = {},
                                                .format = format,
                                                .stage = old ? "prod" : "",
                                                .body = input,
                                                .source_ip = "127.0.0.1",
                                                .function_name = "f",
                                                .request_id = "id",
                                                .at = {}});
  if (!event.ok()) return;
  const boost::json::value value = boost::json::parse(*event);
  require(thaw::http::is_utf8(*event));
  require(std::string_view(value.at(old ? "path" : "rawPath").get_string()) == target.substr(0, target.find('?')));
  if (input.empty()) return;
  const std::string_view body = value.at("body").get_string();
  if (value.at("isBase64Encoded").get_bool()) {
    require(thaw::base64_decoded(body) == input);
  } else {
    require(body == input);
  }
}

void check_answer(std::string_view input, PayloadFormat format) {
  const auto answer = thaw::gateway::http_answer(std::string(input), format);
  if (!answer.ok()) return;
  require(answer->status >= 200 && answer->status <= 599);
  require(is_one_line(answer->content_type));
  for (const auto& [name, value] : answer->fields) require(!name.empty() && is_one_line(name) && is_one_line(value));
}

// However the bytes are cut, a prelude is the same one.
void check_prelude(std::string_view input) {
  const auto read = [&](std::size_t piece_bytes) {
    thaw::gateway::PreludeReader reader;
    for (std::size_t at = 0; at < input.size(); at += piece_bytes) {
      std::string_view piece = input.substr(at, piece_bytes);
      const auto answer = reader.read(piece);
      if (!answer.ok()) return -1;
      if (!*answer) continue;
      for (const auto& [name, value] : (*answer)->fields) require(is_one_line(name) && is_one_line(value));
      return (*answer)->status;
    }
    return 0;
  };
  require(read(1) == read(input.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (!input.empty()) check_prelude(input);
  for (const PayloadFormat format : {PayloadFormat::v1, PayloadFormat::v2}) {
    check_event(input, format);
    check_answer(input, format);
  }
  return 0;
}
