// What Lambda's API takes as a FunctionName: NAME, ACCOUNT:function:NAME or
// arn:aws:lambda:REGION:ACCOUNT:function:NAME, each with or without :QUALIFIER, which may come as a parameter instead.
//
// Threads: pure functions of their arguments and model::place().
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "gateway/control_request.h"

namespace thaw::gateway {

struct NameAndQualifier {
  std::string name;
  std::string qualifier;  // empty where there is none
};

// The text is decoded already. Whether the name is a possible one is for the catalog to say. Errors: invalid_argument;
// as Lambda says it, not_found for another region and forbidden for another account.
Result<NameAndQualifier> parse_function_name(std::string_view text);

// A segment of a path, encoded, with the query's Qualifier. One that is there but empty is an error, else a client that
// has lost its version's number would delete the function.
Result<NameAndQualifier> named_function(std::string_view segment, const Query& query);

}  // namespace thaw::gateway
