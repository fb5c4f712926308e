#include "invoke/event.h"

#include <boost/json.hpp>

namespace thaw::invoke {

std::int64_t epoch_ms(http::TimePoint at) {
  using std::chrono::milliseconds;
  const auto left = std::chrono::duration_cast<milliseconds>(at - std::chrono::steady_clock::now());
  const auto then = std::chrono::system_clock::now() + left;
  return std::chrono::duration_cast<milliseconds>(then.time_since_epoch()).count();
}

std::string error_document(std::string_view type, std::string_view message) {
  return boost::json::serialize(boost::json::object{{"errorType", type}, {"errorMessage", message}});
}

}  // namespace thaw::invoke
