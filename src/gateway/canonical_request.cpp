#include "gateway/canonical_request.h"

#include <algorithm>
#include <utility>

namespace thaw::gateway {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

// Calls use with each part between the separators.
template <class Use>
void for_each_part(std::string_view text, char separator, Use use) {
  for (;;) {
    const std::size_t end = text.find(separator);
    use(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

void append_value(std::string& out, std::string_view value) {
  bool blank = false;
  bool first = true;
  for (const char c : value) {
    if (c == ' ' || c == '\t') {
      blank = true;
      continue;
    }
    if (blank && !first) out += ' ';
    out += c;
    blank = first = false;
  }
}

}  // namespace

std::string canonical_path(std::string_view path) {
  std::vector<std::string_view> segments;
  for_each_part(path, '/', [&](std::string_view segment) {
    if (segment.empty() || segment == ".") return;
    if (segment != "..") {
      segments.push_back(segment);
    } else if (!segments.empty()) {
      segments.pop_back();
    }
  });
  std::string out;
  for (const std::string_view segment : segments) out.append("/").append(http::percent_encode(segment));
  if (segments.empty() || path.ends_with('/')) out += '/';
  return out;
}

Result<std::string> canonical_query(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  Status good;
  for_each_part(query, '&', [&](std::string_view pair) {
    if (pair.empty() || !good.ok()) return;
    const std::size_t equals = pair.find('=');
    const auto name = http::percent_decode(pair.substr(0, equals));
    const auto value =
        http::percent_decode(equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1));
    if (!name.ok() || !value.ok()) {
      good = name.ok() ? value.error() : name.error();
    } else if (*name != "X-Amz-Signature") {
      pairs.emplace_back(http::percent_encode(*name), http::percent_encode(*value));
    }
  });
  if (!good.ok()) return good.error();
  std::sort(pairs.begin(), pairs.end());
  std::string out;
  for (const auto& [name, value] : pairs) out.append(out.empty() ? "" : "&").append(name).append("=").append(value);
  return out;
}

std::string canonical_fields(const http::Fields& fields, const std::vector<std::string>& names) {
  // One pass over the fields: a request may name many.
  std::vector<std::pair<std::string, std::string_view>> present;
  for (const http::Field& field : fields) present.emplace_back(lower(field.name), field.value);
  std::stable_sort(present.begin(), present.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string out;
  for (const std::string& name : names) {
    out.append(name).append(":");
    auto at = std::lower_bound(present.begin(), present.end(), name,
                               [](const auto& field, const std::string& wanted) { return field.first < wanted; });
    for (bool first = true; at != present.end() && at->first == name; ++at, first = false) {
      if (!first) out += ',';
      append_value(out, at->second);
    }
    out += '\n';
  }
  return out;
}

Result<std::string> canonical_request(const http::RequestHead& request, const std::vector<std::string>& signed_fields,
                                      std::string_view payload) {
  ASSIGN_OR_RETURN(const http::Target target, http::split_target(request.target));
  ASSIGN_OR_RETURN(const std::string query, canonical_query(target.query));
  std::string out(request.method);
  out.append("\n").append(canonical_path(target.path)).append("\n").append(query).append("\n");
  out.append(canonical_fields(request.fields, signed_fields)).append("\n");
  for (std::size_t i = 0; i < signed_fields.size(); ++i) out.append(i == 0 ? "" : ";").append(signed_fields[i]);
  out.append("\n").append(payload);
  return out;
}

}  // namespace thaw::gateway
