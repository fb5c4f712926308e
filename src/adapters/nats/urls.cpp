#include "adapters/nats/urls.h"

#include <algorithm>

namespace thaw::adapters {
namespace {

std::string_view trim_user(std::string_view url) {
  const std::size_t scheme = url.find("://");
  const std::size_t from = scheme == std::string_view::npos ? 0 : scheme + 3;
  const std::size_t at = url.rfind('@');
  return at == std::string_view::npos || at < from ? url.substr(from) : url.substr(at + 1);
}

bool is_address(std::string_view url) {
  if (!url.starts_with("nats://") && !url.starts_with("tls://")) return false;
  const std::string_view place = trim_user(url);
  const std::size_t colon = place.starts_with('[') ? place.find(':', place.find(']')) : place.find(':');
  if (place.empty() || colon == 0) return false;
  if (std::any_of(url.begin(), url.end(), [](char c) { return static_cast<unsigned char>(c) <= ' '; })) return false;
  if (colon == std::string_view::npos) return place.find('/') == std::string_view::npos;
  const std::string_view port = place.substr(colon + 1);
  return !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string_view::npos &&
         std::stoul(std::string(port)) <= 65535;
}

}  // namespace

std::vector<std::string> split_nats_urls(std::string_view urls) {
  std::vector<std::string> all;
  while (true) {
    const std::size_t end = std::min(urls.find(','), urls.size());
    all.emplace_back(urls.substr(0, end));
    if (end == urls.size()) return all;
    urls.remove_prefix(end + 1);
  }
}

Status check_nats_urls(std::string_view urls) {
  for (const std::string& url : split_nats_urls(urls)) {
    if (is_address(url)) continue;
    const std::size_t scheme = url.find("://");
    const std::string shown =
        (scheme == std::string::npos ? "" : url.substr(0, scheme + 3)) + std::string(trim_user(url));
    return invalid_argument("'" + shown + "' is not nats://[USER:PASSWORD@]HOST:PORT, or tls:// the same");
  }
  return {};
}

std::string shown_nats_urls(std::string_view urls) {
  std::string shown;
  for (const std::string& url : split_nats_urls(urls))
    shown += (shown.empty() ? "" : ",") + std::string(trim_user(url));
  return shown;
}

}  // namespace thaw::adapters
