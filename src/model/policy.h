// The resource-based policy of a function, a version or an alias: who else may use it. It is kept and given back; no
// caller is held to it. Members, limits and rules are AWS Lambda's ("AddPermission", AWS Lambda API Reference).
//
// Ownership: plain values. Threads: any. Errors: invalid_argument names the member; policy_from_json() gives corrupt.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::model {

inline constexpr std::size_t kPolicyBytesMax = 20 * 1024;  // as GetPolicy writes it
inline constexpr std::size_t kStatementIdBytesMax = 100;
// The code of an error of add_statement().
inline constexpr char kPolicyTooLong[] = "PolicyLengthExceededException";

struct Policy {
  std::string revision_id;  // new with every change
  boost::json::array statements;

  bool empty() const { return statements.empty(); }
};

// A statement from the members of AddPermission's request; resource: the ARN that it is about.
Result<boost::json::object> statement_of(const boost::json::object& request, const std::string& resource);
// Errors: conflict when there is a statement of that id; invalid_argument with code kPolicyTooLong.
Status add_statement(Policy& policy, boost::json::object statement);
// Errors: not_found.
Status remove_statement(Policy& policy, std::string_view id);
// {"Version", "Id", "Statement"}: what GetPolicy gives, as a text.
std::string policy_document(const Policy& policy);

boost::json::object to_json(const Policy& policy);
Result<Policy> policy_from_json(std::string_view text);

}  // namespace thaw::model
