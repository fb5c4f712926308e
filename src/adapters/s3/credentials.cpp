#include "adapters/s3/credentials.h"

#include <boost/json.hpp>
#include <ctime>

#include "base/sys.h"

namespace thaw::adapters {
namespace {

using namespace std::chrono_literals;

// Amazon's tools renew five minutes ahead; a fetch signs each of its parts anew, so that is enough here too.
constexpr auto kRenewAhead = 5min;
constexpr auto kNoneGoodFor = 60s;
// The metadata service answers at once or is not there.
constexpr auto kMetadataConnectMax = 1000ms;
constexpr auto kMetadataWaitMax = 5s;
constexpr std::size_t kAnswerBytesMax = 64 << 10;

std::string text_of(const boost::json::object& object, std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// "2026-01-31T12:00:00Z", with or without fractions.
std::optional<std::chrono::system_clock::time_point> parse_time(const std::string& text) {
  std::tm parts{};
  if (::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == nullptr) return std::nullopt;
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

ports::Call short_call(const ports::Call& call) {
  ports::Call shorter = call;
  shorter.deadline = std::min(call.deadline, std::chrono::steady_clock::now() + kMetadataWaitMax);
  return shorter;
}

HttpRequest local_request(std::string method, std::string url) {
  HttpRequest request;
  request.method = std::move(method);
  request.url = std::move(url);
  request.proxy = HttpRequest::Proxy::none;
  request.connect_max = kMetadataConnectMax;
  request.collect_bytes_max = kAnswerBytesMax;
  return request;
}

}  // namespace

Result<std::optional<Credentials>> CredentialProvider::get(const ports::Call& call) {
  if (settings_.credentials) return settings_.credentials;
  const std::lock_guard lock(mutex_);
  if (Clock::now() < good_until_) return held_;
  ASSIGN_OR_RETURN(held_, ask(call));
  return held_;
}

bool CredentialProvider::renew(const Credentials& refused) {
  if (settings_.credentials) return false;
  const std::lock_guard lock(mutex_);
  if (!held_) return false;
  // Others may have asked already: the ranges of a fetch are refused side by side.
  if (held_->session_token == refused.session_token) good_until_ = {};
  return true;
}

Result<std::optional<Credentials>> CredentialProvider::ask(const ports::Call& call) {
  if (!settings_.container_url.empty()) return ask_container(call);
  if (!settings_.metadata_url.empty()) {
    auto asked = ask_metadata(call);
    // No metadata service: this machine is none of Amazon's.
    if (asked.ok() || asked.error().kind != ErrorKind::unavailable) return asked;
  }
  good_until_ = Clock::now() + kNoneGoodFor;
  return std::optional<Credentials>();
}

Result<std::optional<Credentials>> CredentialProvider::ask_container(const ports::Call& call) {
  HttpRequest request = local_request("GET", settings_.container_url);
  std::string token = settings_.container_token;
  if (!settings_.container_token_file.empty()) {
    ASSIGN_OR_RETURN(token, sys::read_file(settings_.container_token_file, kAnswerBytesMax));
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  }
  if (!token.empty()) request.fields.emplace_back("Authorization", token);
  ASSIGN_OR_RETURN(const HttpAnswer answer, transport_.perform(request, short_call(call)));
  if (answer.status != 200) return status_error(answer.status, "the container's credentials", "");
  return take(answer.body);
}

// IMDSv2: a token first, then the role's name, then its credentials.
Result<std::optional<Credentials>> CredentialProvider::ask_metadata(const ports::Call& call) {
  const ports::Call shorter = short_call(call);
  const std::string base = settings_.metadata_url + "/latest";
  HttpRequest request = local_request("PUT", base + "/api/token");
  request.fields.emplace_back("X-aws-ec2-metadata-token-ttl-seconds", "21600");
  ASSIGN_OR_RETURN(const HttpAnswer token, transport_.perform(request, shorter));
  if (token.status != 200) return Error{ErrorKind::unavailable, "the instance's metadata service gives no token"};

  const std::string roles = base + "/meta-data/iam/security-credentials/";
  request = local_request("GET", roles);
  request.fields.emplace_back("X-aws-ec2-metadata-token", token.body);
  ASSIGN_OR_RETURN(const HttpAnswer role, transport_.perform(request, shorter));
  if (role.status != 200) return Error{ErrorKind::unavailable, "the instance has no role"};

  request.url = roles + encode_path(role.body.substr(0, role.body.find('\n')));
  ASSIGN_OR_RETURN(const HttpAnswer answer, transport_.perform(request, shorter));
  if (answer.status != 200) return status_error(answer.status, "the instance's credentials", "");
  return take(answer.body);
}

Result<std::optional<Credentials>> CredentialProvider::take(const std::string& json) {
  boost::json::error_code error;
  const boost::json::value value = boost::json::parse(json, error);
  if (error || !value.is_object()) return Error{ErrorKind::unavailable, "the credentials' answer is no JSON object"};
  const boost::json::object& object = value.get_object();
  Credentials found{text_of(object, "AccessKeyId"), text_of(object, "SecretAccessKey"), text_of(object, "Token")};
  const auto ends = parse_time(text_of(object, "Expiration"));
  if (found.access_key.empty() || found.secret_key.empty() || !ends)
    return Error{ErrorKind::unavailable, "the credentials' answer lacks AccessKeyId, SecretAccessKey or Expiration"};
  // Never asks more often than every ten seconds, whatever the answer says.
  good_until_ = std::max(*ends - kRenewAhead, Clock::now() + std::chrono::seconds(10));
  return std::optional<Credentials>(std::move(found));
}

}  // namespace thaw::adapters
