// JSON as an enemy may write it: on one line it says the same.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <cstdlib>

#include "model/compact_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  boost::system::error_code failed;
  const boost::json::value value = boost::json::parse({text.data(), text.size()}, failed);
  if (failed) return 0;
  const std::string compact = thaw::model::compact_json(text);
  if (compact.find_first_of("\r\n") != std::string::npos || compact.size() > text.size()) std::abort();
  const boost::json::value again = boost::json::parse(compact, failed);
  // Their texts: Boost takes 0E400 for a NaN, which equals nothing.
  if (failed || boost::json::serialize(again) != boost::json::serialize(value)) std::abort();
  if (thaw::model::compact_json(compact) != compact) std::abort();
  return 0;
}
