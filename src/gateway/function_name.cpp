#include "gateway/function_name.h"

#include <algorithm>

#include "model/place.h"

namespace thaw::gateway {
namespace {

constexpr std::size_t kAccountDigits = 12;
constexpr std::string_view kFunction = "function:";

// What stands before the next colon; text loses both. All of it when there is no colon.
std::string_view take_part(std::string_view& text) {
  const std::size_t colon = text.find(':');
  const std::string_view part = text.substr(0, colon);
  text.remove_prefix(colon == std::string_view::npos ? text.size() : colon + 1);
  return part;
}

bool is_account(std::string_view text) {
  return text.size() == kAccountDigits &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Functions of other daemons, in Lambda's words.
Status check_place(std::string_view region, std::string_view account, std::string_view arn) {
  const model::Place& here = model::place();
  if (region != here.region) {
    return Error{ErrorKind::not_found, "Functions from '" + std::string(region) +
                                           "' are not reachable in this region ('" + here.region + "')"};
  }
  if (account == here.account) return {};
  return Error{ErrorKind::forbidden, "User: arn:aws:iam::" + here.account +
                                         ":root is not authorized to perform this on resource: " + std::string(arn) +
                                         " because no resource-based policy allows it"};
}

Error bad_arn() {
  return invalid_argument("FunctionName is no ARN of a function: arn:aws:lambda:REGION:ACCOUNT:function:NAME");
}

}  // namespace

Result<NameAndQualifier> parse_function_name(std::string_view text) {
  std::string_view rest = text;
  if (rest.substr(0, 4) == "arn:") {
    take_part(rest);
    const std::string_view partition = take_part(rest);
    const std::string_view service = take_part(rest);
    const std::string_view region = take_part(rest);
    const std::string_view account = take_part(rest);
    if (partition.substr(0, 3) != "aws" || service != "lambda" || region.empty() || !is_account(account)) {
      return bad_arn();
    }
    if (rest.substr(0, kFunction.size()) != kFunction) return bad_arn();
    RETURN_IF_ERROR(check_place(region, account, text));
    rest.remove_prefix(kFunction.size());
  } else if (is_account(rest.substr(0, rest.find(':'))) &&
             rest.substr(std::min(rest.size(), kAccountDigits + 1), kFunction.size()) == kFunction) {
    RETURN_IF_ERROR(check_place(model::place().region, rest.substr(0, kAccountDigits), text));
    rest.remove_prefix(kAccountDigits + 1 + kFunction.size());
  }
  NameAndQualifier found;
  const bool qualified = rest.find(':') != std::string_view::npos;
  found.name = take_part(rest);
  found.qualifier = rest;
  if (found.name.empty()) return invalid_argument("FunctionName names no function");
  if (qualified && rest.empty())
    return invalid_argument("the function's name ends with a colon: a qualifier is missing");
  if (rest.find(':') != std::string_view::npos) return invalid_argument("FunctionName has more than one qualifier");
  return found;
}

Result<NameAndQualifier> named_function(std::string_view segment, const Query& query) {
  ASSIGN_OR_RETURN(const std::string decoded, http::percent_decode(segment));
  if (!http::is_utf8(decoded)) return invalid_argument("FunctionName is not UTF-8");
  ASSIGN_OR_RETURN(NameAndQualifier found, parse_function_name(decoded));
  const std::string asked = value_of(query, "Qualifier");
  if (asked.empty() && has(query, "Qualifier")) return invalid_argument("Qualifier is empty");
  if (!asked.empty() && !found.qualifier.empty() && asked != found.qualifier)
    return invalid_argument("Qualifier is another than that of the function's name");
  if (found.qualifier.empty()) found.qualifier = asked;
  return found;
}

}  // namespace thaw::gateway
