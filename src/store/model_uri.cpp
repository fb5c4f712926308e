#include "store/model_uri.h"

#include <algorithm>

#include "base/digest/sha256.h"
#include "http/message.h"

namespace thaw::store {
namespace {

constexpr std::size_t kPathPartsMax = 16;
constexpr std::size_t kPathPartBytesMax = 255;

bool is_word(std::string_view text, std::string_view also) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           also.find(c) != std::string_view::npos;
  });
}

Error bad(std::string_view text, std::string_view why) {
  return invalid_argument("model address '" + std::string(text.substr(0, 200)) + "': " + std::string(why));
}

Status parse_s3(std::string_view rest, ModelUri& uri) {
  const std::size_t slash = rest.find('/');
  uri.place = rest.substr(0, slash);
  if (slash == std::string_view::npos) return bad(uri.text, "the key is missing: write s3://BUCKET/KEY");
  uri.key = rest.substr(slash + 1);
  if (uri.place.size() < 3 || uri.place.size() > 255 || !is_word(uri.place, ".-_") || uri.place.front() == '.' ||
      uri.place.find("..") != std::string::npos)
    return bad(uri.text, "'" + uri.place + "' is no bucket's name");
  return {};
}

bool is_loopback(std::string_view host) { return host == "localhost" || host == "[::1]" || host.starts_with("127."); }

Status parse_web(std::string_view scheme, std::string_view rest, ModelUri& uri) {
  const std::size_t slash = rest.find('/');
  const std::string_view authority = rest.substr(0, slash);
  if (authority.find('@') != std::string_view::npos) return bad(uri.text, "must not hold a user's name or password");
  if (rest.find('#') != std::string_view::npos) return bad(uri.text, "must not hold a '#'");
  std::string_view host = authority;
  if (const std::size_t colon = authority.rfind(':'); colon != std::string_view::npos && authority.back() != ']') {
    const std::string_view port = authority.substr(colon + 1);
    if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string_view::npos)
      return bad(uri.text, "the port is no number");
    host = authority.substr(0, colon);
  }
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed ? !is_word(host.substr(1, host.size() - 2), ":.") : !is_word(host, ".-_"))
    return bad(uri.text, "the host's name is missing or wrong");
  if (scheme == "http" && !is_loopback(host)) return bad(uri.text, "http: is taken for loopback alone: use https:");
  if (slash == std::string_view::npos || slash + 1 == rest.size()) return bad(uri.text, "the path is missing");
  uri.place = std::string(scheme) + "://" + std::string(authority);
  uri.key = rest.substr(slash + 1);
  if (uri.key.ends_with('/')) return bad(uri.text, "a web address has no list of files: name a single file");
  const auto printable = [](char c) { return c > ' ' && static_cast<unsigned char>(c) < 0x7f; };
  if (!std::all_of(uri.key.begin(), uri.key.end(), printable))
    return bad(uri.text, "write the path percent-encoded, as it is sent");
  return {};
}

Status parse_hub(std::string_view rest, ModelUri& uri) {
  const std::size_t first = rest.find('/');
  const std::size_t second = first == std::string_view::npos ? first : rest.find('/', first + 1);
  if (second == std::string_view::npos) return bad(uri.text, "write hf:OWNER/REPO/FILE");
  std::string_view repository = rest.substr(0, second);
  uri.revision = "main";
  if (const std::size_t at = repository.find('@'); at != std::string_view::npos) {
    uri.revision = repository.substr(at + 1);
    repository = repository.substr(0, at);
    if (!is_word(uri.revision, ".-_")) return bad(uri.text, "the revision behind '@' is wrong");
  }
  const std::string_view owner = repository.substr(0, first);
  const std::string_view name = first < repository.size() ? repository.substr(first + 1) : std::string_view();
  if (!is_word(owner, ".-_") || !is_word(name, ".-_") || owner.front() == '.' || name.front() == '.')
    return bad(uri.text, "OWNER/REPO is wrong");
  uri.place = repository;
  uri.key = rest.substr(second + 1);
  return {};
}

Status parse_package(std::string_view rest, ModelUri& uri) {
  const std::size_t slash = rest.find('/');
  uri.place = rest.substr(0, slash);
  if (slash == std::string_view::npos || !is_sha256_hex(uri.place))
    return bad(uri.text, "write package:CODE_SHA256/PATH");
  uri.key = rest.substr(slash + 1);
  return {};
}

// Keys that become paths of a file system, or that a hub's address is made of.
Status check_path(const ModelUri& uri) {
  std::string_view path = uri.key;
  if (uri.scheme == ModelScheme::file && path.starts_with('/')) path.remove_prefix(1);
  if (path.ends_with('/')) path.remove_suffix(1);
  if (path.empty() && uri.folder) return {};
  if (!is_safe_path(path)) return bad(uri.text, "the path has an empty part, '.' or '..', or is too long or deep");
  return {};
}

}  // namespace

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  std::size_t parts = 0;
  for (std::size_t at = 0; at <= path.size(); ++parts) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == ".." || part.size() > kPathPartBytesMax) return false;
    at = end + 1;
  }
  return parts <= kPathPartsMax;
}

Result<ModelUri> parse_model_uri(std::string_view text) {
  ModelUri uri;
  uri.text = text;
  if (text.empty()) return invalid_argument("the model's address is empty");
  if (text.size() > kModelUriBytesMax)
    return invalid_argument("the model's address is longer than " + std::to_string(kModelUriBytesMax) + " bytes");
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f)
      return invalid_argument("the model's address holds a control character");
  }
  if (!http::is_utf8(text)) return invalid_argument("the model's address is not UTF-8");
  const auto begins = [&](std::string_view prefix) { return text.starts_with(prefix); };
  Status parsed;
  if (begins("s3://")) {
    uri.scheme = ModelScheme::s3;
    parsed = parse_s3(text.substr(5), uri);
  } else if (begins("https://") || begins("http://")) {
    uri.scheme = ModelScheme::https;
    const std::size_t colon = text.find(':');
    parsed = parse_web(text.substr(0, colon), text.substr(colon + 3), uri);
  } else if (begins("hf:")) {
    uri.scheme = ModelScheme::hub;
    parsed = parse_hub(text.substr(3), uri);
  } else if (begins("file:")) {
    uri.scheme = ModelScheme::file;
    uri.key = text.substr(5);
    if (uri.key.starts_with("//")) parsed = bad(text, "write file:PATH, without '//'");
  } else if (begins("package:")) {
    uri.scheme = ModelScheme::package;
    parsed = parse_package(text.substr(8), uri);
  } else {
    return bad(text, "begins with none of s3://, https://, hf:, file:");
  }
  if (!parsed.ok()) return std::move(parsed).error();
  uri.folder = uri.key.empty() || uri.key.ends_with('/');
  if (uri.scheme == ModelScheme::hub || uri.scheme == ModelScheme::file || uri.scheme == ModelScheme::package)
    RETURN_IF_ERROR(check_path(uri));
  if (uri.scheme == ModelScheme::file && uri.key.empty()) return bad(text, "the path is missing: write file:PATH");
  if (!uri.folder && !is_safe_path(uri.file_name())) return bad(text, "its last part cannot be a file's name");
  return uri;
}

std::string ModelUri::file_name() const {
  std::string_view name = key;
  if (scheme == ModelScheme::https) name = name.substr(0, name.find('?'));
  const std::size_t slash = name.rfind('/');
  if (slash != std::string_view::npos) name.remove_prefix(slash + 1);
  if (scheme != ModelScheme::https) return std::string(name);
  const auto decoded = http::percent_decode(name);
  // A decoded slash would make a path of the name.
  return decoded.ok() && decoded->find('/') == std::string::npos ? *decoded : std::string();
}

}  // namespace thaw::store
