// Signed requests as an enemy may send them: "METHOD TARGET\nName: value\n…", and the same bytes as a file of keys.
// Whatever comes, the canonical forms are stable, and the signature that is expected is the one that is then taken.
#include "gateway/sigv4.h"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "gateway/canonical_request.h"

namespace {

using namespace thaw;

void require(bool truth) {
  if (!truth) std::abort();
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

http::RequestHead head_of(std::string_view text) {
  http::RequestHead head;
  const std::string_view line = take_line(text);
  const std::size_t space = line.find(' ');
  head.method = line.substr(0, space);
  head.target = space == std::string_view::npos ? "/" : line.substr(space + 1);
  while (!text.empty() && head.fields.size() < 200) {
    const std::string_view field = take_line(text);
    const std::size_t colon = field.find(": ");
    if (colon != std::string_view::npos) head.fields.add(field.substr(0, colon), field.substr(colon + 2));
  }
  return head;
}

void check_canonical_forms(const http::RequestHead& head) {
  const auto target = http::split_target(head.target);
  if (!target.ok()) return;
  require(gateway::canonical_path(target->path).starts_with('/'));
  const auto query = gateway::canonical_query(target->query);
  if (!query.ok()) return;
  const auto again = gateway::canonical_query(*query);
  require(again.ok() && *again == *query);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto keys = gateway::parse_credentials(input);
  require(!keys.ok() || !keys->empty());
  const http::RequestHead head = head_of(input);
  check_canonical_forms(head);
  const auto signature = gateway::read_signature(head);
  if (!signature.ok()) return 0;
  require(signature->signed_fields.size() <= gateway::kSignedFieldsMax);
  gateway::AccessKeys known;
  known[signature->access_key_id].secret = "secret";
  const auto then = std::chrono::system_clock::from_time_t(1440938160);
  const auto key = gateway::check_signature(*signature, head, known, "lambda", then);
  if (!key.ok()) return 0;
  const auto expected = gateway::expected_signature(*signature, head, (*key)->secret, "0");
  require(!expected.ok() || expected->size() == 64);
  return 0;
}
