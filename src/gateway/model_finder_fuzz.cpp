// Request bodies as an enemy may send them. The first byte says into pieces of which length the rest is cut; the finder
// must answer as a look into Boost.JSON's whole document does.
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateway/model_finder.h"

namespace {

void require(bool truth) {
  if (!truth) std::abort();
}

thaw::Result<std::string> found(std::string_view body, std::size_t piece_bytes) {
  thaw::gateway::ModelFinder finder;
  for (std::size_t at = 0; at < body.size(); at += piece_bytes) {
    if (thaw::Status taken = finder.write(body.substr(at, piece_bytes)); !taken.ok()) return taken.error();
  }
  return finder.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece_bytes = data[0] == 0 ? size : data[0];
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto name = found(body, piece_bytes);

  boost::json::parse_options options;
  options.max_depth = thaw::gateway::kJsonDepthMax;
  boost::json::error_code failed;
  const boost::json::value document = boost::json::parse({body.data(), body.size()}, failed, {}, options);
  const boost::json::value* model =
      !failed && document.is_object() ? document.get_object().if_contains("model") : nullptr;
  const bool expected = model != nullptr && model->is_string() && !model->get_string().empty() &&
                        model->get_string().size() <= thaw::gateway::kModelNameBytesMax;
  require(name.ok() == expected);
  if (expected) require(*name == std::string_view(model->get_string()));
  if (!name.ok()) require((failed || !document.is_object()) == name.error().code.empty());
  return 0;
}
