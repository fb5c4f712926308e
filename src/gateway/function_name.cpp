#include "gateway/function_name.h"

#include <algorithm>

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
    rest.remove_prefix(kFunction.size());
  } else if (is_account(rest.substr(0, rest.find(':'))) &&
             rest.substr(std::min(rest.size(), kAccountDigits + 1), kFunction.size()) == kFunction) {
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

}  // namespace thaw::gateway
