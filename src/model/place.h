// Where this daemon's functions are, as ARNs and functions see it: one region and one account.
//
// Threads: set_place() once, while there is one thread; place() from any after that.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::model {

struct Place {
  std::string region = "us-east-1";
  std::string account = "000000000000";
};

// A process is one daemon, and every ARN, log line and environment needs this: it is the process's, as its log is.
const Place& place();
void set_place(Place place);

// Errors: invalid_argument, without the name of where it was given.
Status check_region(std::string_view region);
Status check_account(std::string_view account);

}  // namespace thaw::model
