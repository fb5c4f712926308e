#include "invoke/event.h"

#include <boost/json.hpp>

namespace thaw::invoke {

std::string error_document(std::string_view type, std::string_view message) {
  return boost::json::serialize(boost::json::object{{"errorType", type}, {"errorMessage", message}});
}

}  // namespace thaw::invoke
