#include "adapters/s3/xml.h"

#include <expat.h>

#include <charconv>
#include <memory>
#include <vector>

namespace thaw::adapters {
namespace {

constexpr std::size_t kTextBytesMax = 8192;
constexpr std::size_t kDepthMax = 16;

using OnEnd = std::function<void(const std::string& path, const std::string& text)>;

struct Reader {
  const OnEnd& on_end;
  XML_Parser parser;
  std::vector<std::string> path;
  std::string text;
};

void on_start(void* context, const char* name, const char**) {
  auto& reader = *static_cast<Reader*>(context);
  if (reader.path.size() >= kDepthMax) {
    XML_StopParser(reader.parser, XML_FALSE);
    return;
  }
  reader.path.emplace_back(name);
  reader.text.clear();
}

void on_end(void* context, const char*) {
  auto& reader = *static_cast<Reader*>(context);
  std::string path;
  for (const std::string& part : reader.path) path += "/" + part;
  reader.on_end(path, reader.text);
  reader.path.pop_back();
  reader.text.clear();
}

void on_text(void* context, const char* text, int count) {
  auto& reader = *static_cast<Reader*>(context);
  if (reader.text.size() + static_cast<std::size_t>(count) <= kTextBytesMax)
    reader.text.append(text, static_cast<std::size_t>(count));
}

// A document type would bring entities; S3 sends none.
void on_doctype(void* context, const char*, const char*, const char*, int) {
  XML_StopParser(static_cast<Reader*>(context)->parser, XML_FALSE);
}

// on_end gets "/ListBucketResult/Contents/Key" and its text. False when it is not XML.
bool read_xml(std::string_view xml, const OnEnd& each) {
  const std::unique_ptr<XML_ParserStruct, void (*)(XML_Parser)> parser(XML_ParserCreate(nullptr), &XML_ParserFree);
  if (parser == nullptr) return false;
  Reader reader{each, parser.get(), {}, {}};
  XML_SetUserData(parser.get(), &reader);
  XML_SetElementHandler(parser.get(), &on_start, &on_end);
  XML_SetCharacterDataHandler(parser.get(), &on_text);
  XML_SetStartDoctypeDeclHandler(parser.get(), &on_doctype);
  return XML_Parse(parser.get(), xml.data(), static_cast<int>(xml.size()), XML_TRUE) == XML_STATUS_OK;
}

}  // namespace

Result<ports::ObjectPage> parse_list(std::string_view xml) {
  ports::ObjectPage page;
  ports::ObjectInfo object;
  bool truncated = false;
  bool is_list = false;
  bool numbers_fit = true;
  const std::string contents = "/ListBucketResult/Contents";
  const bool read = read_xml(xml, [&](const std::string& path, const std::string& text) {
    if (path == contents + "/Key") object.key = text;
    if (path == contents + "/ETag") object.etag = text;
    if (path == contents + "/Size") {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), object.bytes);
      numbers_fit = numbers_fit && error == std::errc() && end == text.data() + text.size();
    }
    if (path == contents) page.objects.push_back(std::exchange(object, {}));
    if (path == "/ListBucketResult/IsTruncated") truncated = text == "true";
    if (path == "/ListBucketResult/NextContinuationToken") page.next = text;
    if (path == "/ListBucketResult") is_list = true;
  });
  if (!read || !is_list || !numbers_fit || (truncated && page.next.empty()))
    return Error{ErrorKind::unavailable, "the server's list of objects is not S3's ListBucketResult"};
  if (!truncated) page.next.clear();
  return page;
}

S3ErrorBody parse_error(std::string_view xml) {
  S3ErrorBody body;
  (void)read_xml(xml, [&](const std::string& path, const std::string& text) {
    if (path == "/Error/Code") body.code = text;
    if (path == "/Error/Message") body.message = text.substr(0, 300);
    if (path == "/Error/Region") body.region = text;
  });
  return body;
}

std::string first_text(std::string_view xml, std::string_view element) {
  std::string found;
  (void)read_xml(xml, [&](const std::string& path, const std::string& text) {
    if (found.empty() && path.ends_with("/" + std::string(element))) found = text;
  });
  return found;
}

}  // namespace thaw::adapters
