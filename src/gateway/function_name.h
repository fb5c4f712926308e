// What Lambda's API takes as a FunctionName: NAME, ACCOUNT:function:NAME or
// arn:aws:lambda:REGION:ACCOUNT:function:NAME, each with or without :QUALIFIER. Region and account are read and not
// compared: one daemon has one of each. Threads: a pure function. Errors: invalid_argument.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::gateway {

struct NameAndQualifier {
  std::string name;
  std::string qualifier;  // empty where there is none
};

// The text is decoded already. Whether the name is a possible one is for the catalog to say.
Result<NameAndQualifier> parse_function_name(std::string_view text);

}  // namespace thaw::gateway
