#include "gateway/sigv4.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <optional>

#include "base/digest/sha256.h"
#include "gateway/canonical_request.h"

namespace thaw::gateway {
namespace {

using std::chrono::system_clock;

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr std::string_view kTerminator = "aws4_request";
constexpr std::string_view kDateField = "x-amz-date";
constexpr std::string_view kTokenField = "x-amz-security-token";

Error incomplete(std::string message) {
  return {ErrorKind::invalid_argument, std::move(message), "IncompleteSignatureException"};
}
Error invalid(std::string message) { return {ErrorKind::forbidden, std::move(message), "InvalidSignatureException"}; }
Error unknown_client() {
  return {ErrorKind::forbidden, "The security token included in the request is invalid.",
          "UnrecognizedClientException"};
}

// ---- Dates ----------------------------------------------------------------------------------------------------------

// system_clock's own nanoseconds overflow in years that a request may name.
using Seconds = std::chrono::time_point<system_clock, std::chrono::seconds>;

std::string basic_time(Seconds at) {
  const std::time_t seconds = at.time_since_epoch().count();
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &parts)};
}

std::optional<Seconds> parsed_time(const std::string& text, const char* format) {
  std::tm parts{};
  const char* const end = ::strptime(text.c_str(), format, &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return Seconds(std::chrono::seconds(::timegm(&parts)));
}

std::optional<Seconds> time_of(const std::string& basic) {
  // strptime() takes less than all digits.
  if (basic.size() != 16) return std::nullopt;
  return parsed_time(basic, "%Y%m%dT%H%M%SZ");
}

// A Date field may be written either way; what is signed is the basic form.
std::string basic_of_date_field(const std::string& text) {
  if (time_of(text)) return text;
  const auto at = parsed_time(text, "%a, %d %b %Y %H:%M:%S GMT");
  return at ? basic_time(*at) : text;
}

Status check_times(const RequestSignature& signature, Seconds now) {
  const auto at = time_of(signature.at);
  if (!at) {
    return incomplete("Date must be in ISO-8601 'basic format'. Got '" + signature.at +
                      "'. See http://en.wikipedia.org/wiki/ISO_8601");
  }
  if (signature.at.compare(0, 8, signature.scope_date) != 0) {
    return invalid("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" +
                   signature.scope_date + "' != '" + signature.at.substr(0, 8) + "', from '" + signature.at + "'.");
  }
  const std::string now_text = basic_time(now);
  const auto last = *at + (signature.valid.count() > 0 ? signature.valid : kClockSkewMax);
  if (now > last) {
    return invalid("Signature expired: " + signature.at + " is now earlier than " + basic_time(now - (last - *at)) +
                   " (" + now_text + " - " +
                   (signature.valid.count() > 0 ? std::to_string(signature.valid.count()) + " s.)" : "5 min.)"));
  }
  if (*at > now + kClockSkewMax) {
    return invalid("Signature not yet current: " + signature.at + " is still later than " +
                   basic_time(now + kClockSkewMax) + " (" + now_text + " + 5 min.)");
  }
  return {};
}

// ---- Reading --------------------------------------------------------------------------------------------------------

// What the signature's parts are called where they stand, for messages.
struct Given {
  std::string where;  // "Authorization header", "AWS query-string parameters"
  std::string credential_name;
  std::string fields_name;
  std::string signature_name;
  std::string date_name;
  std::optional<std::string> credential;
  std::optional<std::string> fields;
  std::optional<std::string> signature;
  std::optional<std::string> date;
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Given of_authorization(const http::RequestHead& request, std::string_view parameters) {
  Given given;
  given.where = "Authorization header";
  given.credential_name = "Credential";
  given.fields_name = "SignedHeaders";
  given.signature_name = "Signature";
  given.date_name = "X-Amz-Date' or a 'Date";
  while (!parameters.empty()) {
    const std::size_t comma = parameters.find(',');
    const std::string_view part = trimmed(parameters.substr(0, comma));
    parameters.remove_prefix(comma == std::string_view::npos ? parameters.size() : comma + 1);
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = part.substr(0, equals);
    const std::string value(part.substr(equals + 1));
    if (name == given.credential_name) given.credential = value;
    if (name == given.fields_name) given.fields = value;
    if (name == given.signature_name) given.signature = value;
  }
  if (request.fields.has(kDateField)) {
    given.date = request.fields.find(kDateField);
  } else if (request.fields.has("date")) {
    given.date = basic_of_date_field(std::string(request.fields.find("date")));
  }
  return given;
}

Status require_all(const Given& given) {
  std::string missing;
  const auto require = [&](const std::optional<std::string>& value, const std::string& name) {
    if (!value || value->empty()) missing += given.where + " requires '" + name + "' parameter. ";
  };
  require(given.credential, given.credential_name);
  require(given.signature, given.signature_name);
  require(given.fields, given.fields_name);
  if (!given.date) missing += given.where + " requires existence of either a '" + given.date_name + "' header. ";
  if (missing.empty()) return {};
  missing.pop_back();
  return incomplete(missing);
}

// "ID/YYYYMMDD/REGION/SERVICE/aws4_request"; an id may hold slashes itself.
Status take_credential(std::string_view text, RequestSignature& signature) {
  std::string* const parts[] = {nullptr, &signature.service, &signature.region, &signature.scope_date};
  for (std::string* part : parts) {
    const std::size_t slash = text.rfind('/');
    if (slash == std::string_view::npos || slash == 0) {
      return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term");
    }
    const std::string_view found = text.substr(slash + 1);
    text = text.substr(0, slash);
    if (part != nullptr) {
      *part = found;
    } else if (found != kTerminator) {
      return invalid("Credential should be scoped with a valid terminator: 'aws4_request'.");
    }
  }
  signature.access_key_id = text;
  return {};
}

Status take_fields(std::string_view text, RequestSignature& signature) {
  while (!text.empty()) {
    const std::size_t end = text.find(';');
    std::string name(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (name.empty() || signature.signed_fields.size() == kSignedFieldsMax)
      return incomplete("SignedHeaders must be at most " + std::to_string(kSignedFieldsMax) +
                        " names with ';' between");
    signature.signed_fields.push_back(std::move(name));
  }
  std::sort(signature.signed_fields.begin(), signature.signed_fields.end());
  return {};
}

Result<RequestSignature> take(const Given& given) {
  RETURN_IF_ERROR(require_all(given));
  RequestSignature signature;
  RETURN_IF_ERROR(take_credential(*given.credential, signature));
  RETURN_IF_ERROR(take_fields(*given.fields, signature));
  signature.at = *given.date;
  signature.signature = *given.signature;
  return signature;
}

Result<RequestSignature> of_query(const std::vector<std::pair<std::string, std::string>>& query) {
  const auto find = [&](std::string_view name) -> std::optional<std::string> {
    for (const auto& [key, value] : query) {
      if (key == name) return value;
    }
    return std::nullopt;
  };
  Given given{.where = "AWS query-string parameters",
              .credential_name = "X-Amz-Credential",
              .fields_name = "X-Amz-SignedHeaders",
              .signature_name = "X-Amz-Signature",
              .date_name = "X-Amz-Date",
              .credential = find("X-Amz-Credential"),
              .fields = find("X-Amz-SignedHeaders"),
              .signature = find("X-Amz-Signature"),
              .date = find("X-Amz-Date")};
  ASSIGN_OR_RETURN(RequestSignature signature, take(given));
  const std::string expires = find("X-Amz-Expires").value_or("");
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(expires.data(), expires.data() + expires.size(), seconds);
  if (error != std::errc() || end != expires.data() + expires.size() || seconds < 1 || seconds > kPresignedMax.count())
    return incomplete("X-Amz-Expires must be a number of seconds from 1 to " + std::to_string(kPresignedMax.count()));
  signature.valid = std::chrono::seconds(seconds);
  signature.session_token = find("X-Amz-Security-Token").value_or("");
  return signature;
}

bool is_signed(const RequestSignature& signature, std::string_view name) {
  return std::any_of(signature.signed_fields.begin(), signature.signed_fields.end(),
                     [&](const std::string& one) { return http::iequals(one, name); });
}

std::string_view as_text(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace

Result<RequestSignature> read_signature(const http::RequestHead& request) {
  const std::string_view authorization = request.fields.find("authorization");
  if (authorization.empty()) {
    const auto target = http::split_target(request.target);
    const auto query = target.ok() ? http::parse_query(target->query) : http::parse_query("");
    if (query.ok()) {
      for (const auto& [name, value] : *query) {
        if (name == "X-Amz-Algorithm" && value == kAlgorithm) return of_query(*query);
        if (name == "X-Amz-Algorithm") return incomplete("X-Amz-Algorithm must be AWS4-HMAC-SHA256");
      }
    }
    return Error{ErrorKind::forbidden, "Missing Authentication Token", "MissingAuthenticationTokenException"};
  }
  if (!authorization.starts_with(kAlgorithm) || authorization.size() <= kAlgorithm.size() ||
      authorization[kAlgorithm.size()] != ' ')
    return incomplete("Authorization header must begin with AWS4-HMAC-SHA256: other algorithms are not supported");
  ASSIGN_OR_RETURN(RequestSignature signature,
                   take(of_authorization(request, authorization.substr(kAlgorithm.size() + 1))));
  signature.session_token = request.fields.find(kTokenField);
  return signature;
}

Result<const AccessKey*> check_signature(const RequestSignature& signature, const http::RequestHead& request,
                                         const AccessKeys& keys, std::string_view service,
                                         system_clock::time_point now) {
  if (signature.service != service)
    return invalid("Credential should be scoped to correct service: '" + std::string(service) + "'.");
  RETURN_IF_ERROR(check_times(signature, std::chrono::floor<std::chrono::seconds>(now)));
  if (!is_signed(signature, "host"))
    return invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
  for (const http::Field& field : request.fields) {
    if (field.name.size() > 6 && http::iequals(field.name.substr(0, 6), "x-amz-") && !is_signed(signature, field.name))
      return invalid("There were headers present in the request which were not signed: " + std::string(field.name));
  }
  const auto key = keys.find(signature.access_key_id);
  if (key == keys.end()) return unknown_client();
  if (!equal_in_constant_time(key->second.session_token, signature.session_token)) return unknown_client();
  return &key->second;
}

Result<std::string> expected_signature(const RequestSignature& signature, const http::RequestHead& request,
                                       std::string_view secret, std::string_view payload) {
  auto canonical = canonical_request(request, signature.signed_fields, payload);
  if (!canonical.ok()) return invalid(canonical.error().message);
  const std::string scope =
      signature.scope_date + "/" + signature.region + "/" + signature.service + "/" + std::string(kTerminator);
  const std::string to_sign =
      std::string(kAlgorithm) + "\n" + signature.at + "\n" + scope + "\n" + hex(sha256(*canonical));
  Sha256Digest key = hmac_sha256("AWS4" + std::string(secret), signature.scope_date);
  key = hmac_sha256(as_text(key), signature.region);
  key = hmac_sha256(as_text(key), signature.service);
  key = hmac_sha256(as_text(key), kTerminator);
  return hex(hmac_sha256(as_text(key), to_sign));
}

}  // namespace thaw::gateway
