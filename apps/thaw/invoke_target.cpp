#include "invoke_target.h"

#include "api.h"
#include "text.h"

namespace thaw::cli {

std::string web_target(const std::string& called, std::string path, const std::vector<std::string>& parameters) {
  std::string query;
  if (const std::size_t mark = path.find('?'); mark != std::string::npos) {
    query = path.substr(mark + 1);
    path.resize(mark);
  }
  if (!path.starts_with('/')) path = "/" + path;
  for (const std::string& pair : parameters) {
    const std::size_t equals = pair.find('=');
    if (!query.empty()) query += '&';
    query += percent_encode(pair.substr(0, equals));
    if (equals != std::string::npos) query += "=" + percent_encode(pair.substr(equals + 1));
  }
  const QualifiedName name = qualified_name(called);
  std::string target = "/fn/" + percent_encode(name.function);
  if (name.qualifier) target += ":" + percent_encode(*name.qualifier);
  target += percent_encode_path(path);
  if (!query.empty()) {
    // What the caller wrote into the query stays, but for what no request line can hold.
    target += '?';
    for (const char c : query) {
      const auto byte = static_cast<unsigned char>(c);
      target += byte <= 0x20 || byte >= 0x7f || c == '#' ? percent_encode(std::string_view(&c, 1)) : std::string(1, c);
    }
  }
  return target;
}

std::string event_target(const std::string& called) {
  const QualifiedName name = qualified_name(called);
  std::string target = "/2015-03-31/functions/" + percent_encode(name.function) + "/invocations";
  if (name.qualifier) target += "?Qualifier=" + percent_encode(*name.qualifier);
  return target;
}

}  // namespace thaw::cli
