// Where a function is called: web functions at /fn/, event functions by Lambda's Invoke.
#pragma once

#include <string>
#include <vector>

#include "client.h"

namespace thaw::cli {

// name: NAME or NAME:QUALIFIER. path: in the function, with a query if the caller likes. query: "K=V", not yet encoded.
std::string web_target(const std::string& name, std::string path, const std::vector<std::string>& query);
std::string event_target(const std::string& name);

}  // namespace thaw::cli
