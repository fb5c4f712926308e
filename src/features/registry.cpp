#include "features/registry.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/digest/sha256.h"
#include "base/sys.h"

namespace thaw::features {
namespace {

namespace json = boost::json;

constexpr std::size_t kFileBytesMax = kDefinitionsBytesMax + 1024;
constexpr std::int64_t kVersion = 1;

Error damaged(const std::string& what) { return {ErrorKind::corrupt, "features/registry.json is damaged: " + what}; }

}  // namespace

Result<Definitions> load_registry(const std::string& path) {
  const auto text = sys::read_file(path, kFileBytesMax);
  if (!text.ok() && text.error().kind == ErrorKind::not_found) return Definitions();
  if (!text.ok() && text.error().kind == ErrorKind::too_large) return damaged("it is too large");
  if (!text.ok()) return text.error();
  boost::system::error_code failed;
  const json::value file = json::parse(*text, failed);
  if (failed || !file.is_object()) return damaged("it is no JSON object");
  const json::object& object = file.get_object();
  const json::value* version = object.if_contains("v");
  if (version == nullptr || *version != kVersion)
    return damaged("it is not of version " + std::to_string(kVersion) + ", which this is for");
  const json::value* digest = object.if_contains("sha256");
  const json::value* definitions = object.if_contains("definitions");
  if (digest == nullptr || !digest->is_string() || definitions == nullptr || !definitions->is_object())
    return damaged("it lacks sha256 or definitions");
  // The members keep their order, so that what was written is written again.
  if (std::string_view(digest->get_string()) != hex(sha256(json::serialize(*definitions))))
    return damaged("its definitions do not match its sha256");
  auto read = definitions_from_json(definitions->get_object());
  if (!read.ok()) return damaged(read.error().message);
  if (const Status checked = check_references(*read); !checked.ok()) return damaged(checked.error().message);
  return std::move(*read);
}

Status save_registry(const std::string& path, const Definitions& definitions) {
  const json::object written = to_json(definitions);
  const std::string text = json::serialize(written);
  if (text.size() > kDefinitionsBytesMax)
    return Error{ErrorKind::too_large,
                 "all definitions together may have at most " + std::to_string(kDefinitionsBytesMax) + " bytes"};
  const json::object file{{"v", kVersion}, {"sha256", hex(sha256(text))}, {"definitions", written}};
  return sys::write_file_atomically(path, json::serialize(file) + "\n", 0600);
}

}  // namespace thaw::features
