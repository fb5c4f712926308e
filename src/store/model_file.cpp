#include "store/model_file.h"

#include <boost/json.hpp>

#include "base/digest/sha256.h"
#include "store/model_uri.h"

namespace thaw::store {
namespace {

namespace json = boost::json;

constexpr std::int64_t kFormat = 1;
constexpr std::size_t kIdDigits = 32;

}  // namespace

std::string model_id(const std::string& uri, const std::string& digest) {
  return hex(sha256(digest + "\n" + uri)).substr(0, kIdDigits);
}

std::string to_json(const ModelRecord& record) {
  const json::object object{{"format", kFormat},
                            {"uri", record.info.uri},
                            {"digest", record.info.digest},
                            {"file", record.info.file},
                            {"bytes", record.info.bytes},
                            {"etag", record.info.etag},
                            {"fingerprint", record.fingerprint},
                            {"sha256", record.sha256},
                            {"fetch_ms", record.fetch_took.count()}};
  return json::serialize(object) + "\n";
}

Result<ModelRecord> model_record(const std::string& text) {
  const Error bad(ErrorKind::corrupt, "a model's model.json is damaged");
  json::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return bad;
  const json::object& object = value.get_object();
  bool whole = true;
  const auto text_of = [&](std::string_view key) {
    const json::value* field = object.if_contains(key);
    whole = whole && field != nullptr && field->is_string();
    return whole ? std::string(field->get_string()) : std::string();
  };
  const auto count_of = [&](std::string_view key) -> std::uint64_t {
    const json::value* field = object.if_contains(key);
    whole = whole && field != nullptr && field->is_int64() && field->get_int64() >= 0;
    return whole ? static_cast<std::uint64_t>(field->get_int64()) : 0;
  };
  ModelRecord record;
  const bool format_known = count_of("format") == static_cast<std::uint64_t>(kFormat);
  record.info.uri = text_of("uri");
  record.info.digest = text_of("digest");
  record.info.file = text_of("file");
  record.info.bytes = count_of("bytes");
  record.info.etag = text_of("etag");
  record.fingerprint = text_of("fingerprint");
  record.sha256 = text_of("sha256");
  record.fetch_took = std::chrono::milliseconds(count_of("fetch_ms"));
  if (!whole || !format_known || !is_sha256_hex(record.info.digest) || !parse_model_uri(record.info.uri).ok())
    return bad;
  if (!record.info.file.empty() && !is_safe_path(record.info.file)) return bad;
  record.info.id = model_id(record.info.uri, record.info.digest);
  return record;
}

}  // namespace thaw::store
