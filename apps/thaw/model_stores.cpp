#include "model_stores.h"

#include "adapters/folder/folder_store.h"
#include "adapters/http/http_store.h"
#include "adapters/s3/s3_store.h"
#include "base/sys.h"

namespace thaw::cli {
namespace {

constexpr std::size_t kTokenBytesMax = 4096;
constexpr std::size_t kOpenedMax = 64;
constexpr const char* kUserAgent = "thaw/" THAW_VERSION;

// Where Hugging Face's own tools look for it.
Result<std::string> hub_token(const adapters::Environment& environment) {
  const auto variable = [&](const char* name) {
    const auto at = environment.find(name);
    return at == environment.end() ? std::string() : at->second;
  };
  if (const std::string token = variable("HF_TOKEN"); !token.empty()) return token;
  std::string path = variable("HF_TOKEN_PATH");
  if (path.empty() && !variable("HF_HOME").empty()) path = variable("HF_HOME") + "/token";
  if (path.empty() && !variable("HOME").empty()) path = variable("HOME") + "/.cache/huggingface/token";
  if (path.empty()) return std::string();
  auto token = sys::read_file(path, kTokenBytesMax);
  if (!token.ok() && token.error().kind == ErrorKind::not_found) return std::string();
  if (!token.ok()) return invalid_argument("the Hugging Face token's file " + token.error().message);
  while (!token->empty() && (token->back() == '\n' || token->back() == '\r' || token->back() == ' ')) token->pop_back();
  return std::move(*token);
}

}  // namespace

Result<StoreSettings> load_store_settings(const adapters::Environment& environment) {
  StoreSettings settings;
  if (auto s3 = adapters::load_s3_settings(environment); s3.ok()) {
    settings.s3 = std::move(*s3);
  } else {
    settings.s3_problem = std::move(s3).error();
  }
  ASSIGN_OR_RETURN(settings.hub_token, hub_token(environment));
  if (settings.hub_token.find_first_of("\r\n") != std::string::npos)
    return invalid_argument("HF_TOKEN holds a line break");
  const auto endpoint = environment.find("HF_ENDPOINT");
  if (endpoint != environment.end() && !endpoint->second.empty()) {
    if (!endpoint->second.starts_with("https://") && !endpoint->second.starts_with("http://"))
      return invalid_argument("HF_ENDPOINT: '" + endpoint->second + "' is not http(s)://HOST[:PORT]");
    settings.hub_endpoint = endpoint->second;
  }
  const auto ca_file = environment.find("CURL_CA_BUNDLE");
  if (ca_file != environment.end()) settings.ca_file = ca_file->second;
  return settings;
}

void ModelStores::add_folder(UniqueFd folder, const std::string& path) {
  Folder added;
  added.path = path;
  auto copy = sys::duplicate(folder);
  added.relative = adapters::open_folder_store(std::move(folder));
  if (copy.ok()) added.absolute = adapters::open_folder_store(std::move(*copy), path + "/");
  folders_.push_back(std::move(added));
}

Result<std::shared_ptr<ports::ObjectStore>> ModelStores::open(const store::ModelUri& uri) {
  if (uri.scheme == store::ModelScheme::file) return make(uri);
  const std::string name = std::to_string(static_cast<int>(uri.scheme)) + uri.place + "@" + uri.revision;
  const std::lock_guard lock(mutex_);
  const auto at = opened_.find(name);
  if (at != opened_.end()) return at->second;
  ASSIGN_OR_RETURN(auto store, make(uri));
  // Those in use live on with whoever uses them.
  if (opened_.size() >= kOpenedMax) opened_.clear();
  opened_[name] = store;
  return store;
}

Result<std::shared_ptr<ports::ObjectStore>> ModelStores::make(const store::ModelUri& uri) const {
  switch (uri.scheme) {
    case store::ModelScheme::s3:
      if (settings_.s3_problem) return *settings_.s3_problem;
      return adapters::open_s3_store(settings_.s3, {.name = uri.place, .version = uri.revision}, kUserAgent);
    case store::ModelScheme::https:
      return adapters::open_http_store({.base = uri.place, .user_agent = kUserAgent, .ca_file = settings_.ca_file});
    case store::ModelScheme::hub:
      return adapters::open_hub_store({.endpoint = settings_.hub_endpoint,
                                       .repository = uri.place,
                                       .revision = uri.revision,
                                       .token = settings_.hub_token,
                                       .user_agent = kUserAgent,
                                       .ca_file = settings_.ca_file});
    case store::ModelScheme::file:
      if (!uri.key.starts_with('/') && !folders_.empty()) return folders_.front().relative;
      for (const Folder& folder : folders_) {
        if (folder.absolute != nullptr && uri.key.starts_with(folder.path + "/")) return folder.absolute;
      }
      return Error{ErrorKind::forbidden,
                   uri.text + ": lies below none of the daemon's folders for models (key models of thaw serve)"};
    case store::ModelScheme::package:
      break;
  }
  return internal_error("an address of a package is not opened here");
}

}  // namespace thaw::cli
