// Any text: no crash, and what is taken keeps its promises.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "store/model_uri.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace thaw::store;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto uri = parse_model_uri(text);
  if (!uri.ok()) return uri.error().message.empty() ? std::abort(), 0 : 0;
  if (uri->text != text || text.size() > kModelUriBytesMax) std::abort();
  if (!uri->folder && !is_safe_path(uri->file_name())) std::abort();
  if (uri->folder != (uri->key.empty() || uri->key.ends_with('/'))) std::abort();
  const auto again = parse_model_uri(uri->text);
  if (!again.ok() || again->key != uri->key || again->place != uri->place) std::abort();
  return 0;
}
