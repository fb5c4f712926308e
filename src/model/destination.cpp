#include "model/destination.h"

#include <algorithm>
#include <vector>

namespace thaw::model {
namespace {

constexpr std::size_t kArnParts = 6;

Error refused() {
  return invalid_argument(
      "must be an ARN of a function or of a bucket (arn:aws:s3:::BUCKET), s3://BUCKET/, file:FOLDER/, or an http:// or "
      "https:// address, of at most " +
      std::to_string(kDestinationBytesMax) + " bytes");
}

// At the first `count` - 1 colons.
std::vector<std::string_view> split(std::string_view text, std::size_t count) {
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < count) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) break;
    parts.push_back(text.substr(0, colon));
    text.remove_prefix(colon + 1);
  }
  parts.push_back(text);
  return parts;
}

bool is_name(std::string_view text, std::string_view others) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           others.find(c) != std::string_view::npos;
  });
}

Result<Destination> parse_arn(std::string_view text) {
  const auto parts = split(text, kArnParts);
  if (parts.size() != kArnParts || !parts[1].starts_with("aws")) return refused();
  const std::string_view resource = parts[5];
  if (parts[2] == "s3") {
    if (!parts[3].empty() || !parts[4].empty() || !is_name(resource, ".-")) return refused();
    return Destination{.kind = Destination::Kind::objects, .place = "s3://" + std::string(resource) + "/"};
  }
  constexpr std::string_view kFunction = "function:";
  if (parts[2] != "lambda" || !resource.starts_with(kFunction)) return refused();
  const auto name = split(resource.substr(kFunction.size()), 2);
  if (!is_name(name[0], "-_") || (name.size() == 2 && !is_name(name[1], "-_$"))) return refused();
  return Destination{.kind = Destination::Kind::function,
                     .place = std::string(name[0]),
                     .qualifier = name.size() == 2 ? std::string(name[1]) : std::string()};
}

std::string with_slash(std::string_view text) {
  std::string place(text);
  if (!place.ends_with('/')) place += '/';
  return place;
}

}  // namespace

Result<Destination> parse_destination(std::string_view text) {
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (text.size() > kDestinationBytesMax || !printable) return refused();
  if (text.starts_with("arn:")) return parse_arn(text);
  constexpr std::string_view kS3 = "s3://";
  if (text.starts_with(kS3)) {
    if (!is_name(text.substr(kS3.size(), text.find('/', kS3.size()) - kS3.size()), ".-")) return refused();
    return Destination{.kind = Destination::Kind::objects, .place = with_slash(text)};
  }
  if (text.starts_with("file:") && text.size() > 5)
    return Destination{.kind = Destination::Kind::objects, .place = with_slash(text)};
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (text.starts_with(scheme) && text.size() > scheme.size() && text[scheme.size()] != '/')
      return Destination{.kind = Destination::Kind::http, .place = std::string(text)};
  }
  return refused();
}

}  // namespace thaw::model
