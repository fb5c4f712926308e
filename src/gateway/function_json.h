// A function's record as Lambda's FunctionConfiguration, with what Lambda has no name for under "Thaw".
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "model/function.h"
#include "model/version.h"
#include "pool/pool.h"

namespace thaw::gateway {

// qualifier: what the caller asked for or gets, for the ARN; empty for the function itself. host, port: where functions
// answer.
boost::json::object function_configuration(const model::FunctionRecord& record, std::string_view qualifier,
                                           const std::string& host, std::uint16_t port);
// State, StateReason, SnapStart, and what Lambda has no name for under "Thaw", into the configuration.
void add_snapshot(boost::json::object& configuration, const model::FunctionRecord& record,
                  const pool::SnapshotView& view);
boost::json::object snapshot_totals(const pool::SnapshotTotals& totals);
// What CodeSha256 is, in hex: of the zip where that came through Lambda's API, else of the package's content.
const std::string& code_digest(const model::FunctionRecord& record);
// "arn:aws:lambda:…:function:NAME", with ":QUALIFIER" where there is one.
std::string function_arn(std::string_view name, std::string_view qualifier);
// Lambda's AliasConfiguration.
boost::json::object alias_configuration(const std::string& function_name, const model::Alias& alias);
boost::json::object function_environments(const pool::FunctionView& view);
// Standard base64 (RFC 4648) of a digest given in hex, as CodeSha256 is written.
std::string base64_of_hex(std::string_view hex);

}  // namespace thaw::gateway
