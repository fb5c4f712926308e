// Whatever the text: a valid configuration that survives both of its written forms, or an error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "model/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace thaw::model;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // Up to a form feed the manifest, after it the overrides.
  const std::size_t split = text.find('\f');
  const std::string_view overrides = split == std::string_view::npos ? std::string_view() : text.substr(split + 1);
  const auto config = read_manifest({.manifest = text.substr(0, split), .overrides = overrides, .package_bytes = size});
  if (!config) {
    if (config.error().message.empty()) std::abort();
    return 0;
  }
  if (!validate(*config).ok()) std::abort();
  const auto from_json = config_from_json(to_json(*config));
  if (!from_json || *from_json != *config) std::abort();
  const auto from_toml = read_manifest({.manifest = to_toml(*config)});
  if (!from_toml || *from_toml != *config) std::abort();
  return 0;
}
