// The bodies of requests to the feature store, and the definitions that are applied.
#include <cstdint>
#include <string_view>

#include "features/definitions.h"
#include "gateway/features_api.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace thaw;
  const std::string_view text(reinterpret_cast<const char*>(data), size);  // NOLINT: libFuzzer gives bytes
  (void)gateway::parse_online_request(text).ok();
  (void)gateway::parse_search_request(text).ok();
  (void)gateway::parse_documents_request(text).ok();
  const auto json = features::parse_definitions_json(text);
  const auto toml = json.ok() ? json : features::parse_definitions_toml(text);
  if (!toml.ok()) return 0;
  (void)features::check_references(*toml).ok();
  // What was taken in can be kept.
  const auto again = features::definitions_from_json(features::to_json(*toml));
  if (!again.ok() || !(*again == *toml)) __builtin_trap();
  return 0;
}
