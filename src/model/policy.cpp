#include "model/policy.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "model/object_reader.h"

namespace thaw::model {
namespace {

namespace json = boost::json;

constexpr std::size_t kTextBytesMax = 2048;  // of a principal, an ARN
constexpr std::size_t kAccountDigits = 12;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}
bool is_account(std::string_view text) {
  return text.size() == kAccountDigits && std::all_of(text.begin(), text.end(), is_digit);
}

bool is_statement_id(std::string_view id) {
  return std::all_of(id.begin(), id.end(), [](char c) { return is_digit(c) || is_letter(c) || c == '-' || c == '_'; });
}

bool is_action(std::string_view action) {
  constexpr std::string_view kService = "lambda:";
  if (action == "*" || action == "lambda:*") return true;
  if (!action.starts_with(kService) || action.size() == kService.size()) return false;
  return std::all_of(action.begin() + kService.size(), action.end(), is_letter);
}

// A service, an account, one of its users or roles, or everybody.
Result<json::value> principal_of(std::string_view text) {
  const auto of = [](std::string_view kind, std::string name) {
    return json::value(json::object{{kind, std::move(name)}});
  };
  if (text == "*") return json::value("*");
  if (is_account(text)) return of("AWS", "arn:aws:iam::" + std::string(text) + ":root");
  if (is_printable(text) && text.starts_with("arn:aws")) return of("AWS", std::string(text));
  if (is_printable(text) && text.find('.') != std::string_view::npos) return of("Service", std::string(text));
  return invalid_argument(
      "The provided principal was invalid: it must be a service (s3.amazonaws.com), an account's number, an ARN, or *");
}

using Text = std::optional<std::string>;

Result<std::string> required(ObjectReader& reader, std::string_view key, ObjectReader::TextBounds bounds) {
  ASSIGN_OR_RETURN(const Text text, reader.text(key, bounds));
  if (!text) return invalid_argument(std::string(key) + " is missing");
  return *text;
}

void add_condition(json::object& conditions, std::string_view operation, std::string_view key, json::value value) {
  if (!conditions.contains(operation)) conditions[operation] = json::object();
  conditions[operation].as_object()[key] = std::move(value);
}

Result<json::object> conditions_of(ObjectReader& reader) {
  json::object conditions;
  ASSIGN_OR_RETURN(const Text account, reader.text("SourceAccount", {.bytes_max = kAccountDigits}));
  if (account && !is_account(*account)) return invalid_argument("SourceAccount must have 12 digits");
  if (account) add_condition(conditions, "StringEquals", "AWS:SourceAccount", json::value(*account));
  ASSIGN_OR_RETURN(const Text arn, reader.text("SourceArn", {.bytes_max = kTextBytesMax}));
  if (arn && (!arn->starts_with("arn:aws") || std::count(arn->begin(), arn->end(), ':') < 5 || !is_printable(*arn)))
    return invalid_argument("SourceArn must be an ARN");
  if (arn) add_condition(conditions, "ArnLike", "AWS:SourceArn", json::value(*arn));
  ASSIGN_OR_RETURN(const Text token, reader.text("EventSourceToken", {.bytes_max = 256}));
  if (token && !is_printable(*token)) return invalid_argument("EventSourceToken may have letters, digits and . _ -");
  if (token) add_condition(conditions, "StringEquals", "lambda:EventSourceToken", json::value(*token));
  ASSIGN_OR_RETURN(const Text organisation, reader.text("PrincipalOrgID", {.bytes_min = 12, .bytes_max = 34}));
  if (organisation && !organisation->starts_with("o-")) return invalid_argument("PrincipalOrgID must begin with o-");
  if (organisation) add_condition(conditions, "StringEquals", "aws:PrincipalOrgID", json::value(*organisation));
  ASSIGN_OR_RETURN(const Text auth, reader.text("FunctionUrlAuthType", {.bytes_max = 16}));
  if (auth && *auth != "NONE" && *auth != "AWS_IAM")
    return invalid_argument("FunctionUrlAuthType must be NONE or AWS_IAM");
  if (auth) add_condition(conditions, "StringEquals", "lambda:FunctionUrlAuthType", json::value(*auth));
  ASSIGN_OR_RETURN(const std::optional<bool> by_url, reader.flag("InvokedViaFunctionUrl"));
  if (by_url)
    add_condition(conditions, "Bool", "lambda:InvokedViaFunctionUrl", json::value(*by_url ? "true" : "false"));
  return conditions;
}

const json::value& id_of(const json::value& statement) { return statement.as_object().at("Sid"); }

}  // namespace

Result<json::object> statement_of(const json::object& request, const std::string& resource) {
  ObjectReader reader(request);
  ASSIGN_OR_RETURN(const std::string id,
                   required(reader, "StatementId", {.bytes_min = 1, .bytes_max = kStatementIdBytesMax}));
  if (!is_statement_id(id)) return invalid_argument("StatementId may have letters, digits, - and _");
  ASSIGN_OR_RETURN(const std::string action, required(reader, "Action", {.bytes_min = 1, .bytes_max = 128}));
  if (!is_action(action)) return invalid_argument("Action must be lambda:OPERATION, lambda:* or *");
  ASSIGN_OR_RETURN(const std::string name, required(reader, "Principal", {.bytes_min = 1, .bytes_max = kTextBytesMax}));
  ASSIGN_OR_RETURN(json::value principal, principal_of(name));
  ASSIGN_OR_RETURN(json::object conditions, conditions_of(reader));
  (void)reader.text("RevisionId", {.bytes_max = kTextBytesMax}).ok();  // the caller's to compare
  RETURN_IF_ERROR(reader.finish());
  json::object statement;
  statement["Sid"] = id;
  statement["Effect"] = "Allow";
  statement["Principal"] = std::move(principal);
  statement["Action"] = action;
  statement["Resource"] = resource;
  if (!conditions.empty()) statement["Condition"] = std::move(conditions);
  return statement;
}

Status add_statement(Policy& policy, json::object statement) {
  const json::value added(std::move(statement));
  for (const json::value& one : policy.statements) {
    if (id_of(one) == id_of(added)) {
      return Error{ErrorKind::conflict, "The statement id (" + std::string(id_of(added).as_string()) +
                                            ") provided already exists. Please provide a new statement id, or remove "
                                            "the existing statement."};
    }
  }
  policy.statements.push_back(added);
  const std::size_t bytes = policy_document(policy).size();
  if (bytes <= kPolicyBytesMax) return {};
  policy.statements.pop_back();
  return Error{ErrorKind::invalid_argument,
               "The final policy size (" + std::to_string(bytes) + ") is bigger than the limit (" +
                   std::to_string(kPolicyBytesMax) + ").",
               kPolicyTooLong};
}

Status remove_statement(Policy& policy, std::string_view id) {
  const auto found = std::find_if(policy.statements.begin(), policy.statements.end(),
                                  [&](const json::value& one) { return id_of(one).as_string() == id; });
  if (found == policy.statements.end())
    return Error{ErrorKind::not_found, "Statement " + std::string(id) + " is not found in resource policy."};
  policy.statements.erase(found);
  return {};
}

std::string policy_document(const Policy& policy) {
  json::object document;
  document["Version"] = "2012-10-17";
  document["Id"] = "default";
  document["Statement"] = policy.statements;
  return json::serialize(document);
}

json::object to_json(const Policy& policy) {
  json::object object;
  object["RevisionId"] = policy.revision_id;
  object["Statements"] = policy.statements;
  return object;
}

Result<Policy> policy_from_json(std::string_view text) {
  const Error damaged(ErrorKind::corrupt, "a stored policy is damaged");
  json::error_code code;
  const json::value parsed = json::parse(text, code);
  if (code || !parsed.is_object()) return damaged;
  const json::value* revision = parsed.get_object().if_contains("RevisionId");
  const json::value* statements = parsed.get_object().if_contains("Statements");
  if (revision == nullptr || !revision->is_string() || statements == nullptr || !statements->is_array()) return damaged;
  for (const json::value& one : statements->get_array()) {
    const json::value* id = one.is_object() ? one.get_object().if_contains("Sid") : nullptr;
    if (id == nullptr || !id->is_string()) return damaged;
  }
  Policy policy;
  policy.revision_id = std::string(revision->get_string());
  policy.statements = statements->get_array();
  return policy;
}

}  // namespace thaw::model
