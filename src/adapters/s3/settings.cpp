#include "adapters/s3/settings.h"

#include <algorithm>

#include "base/sys.h"

namespace thaw::adapters {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;
// Where Amazon's container agent answers.
constexpr const char* kContainerHost = "http://169.254.170.2";

std::string value_of(const Environment& environment, const std::string& name) {
  const auto at = environment.find(name);
  return at == environment.end() ? std::string() : at->second;
}

std::string trimmed(std::string text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.back())) text.pop_back();
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_space));
  return text;
}

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

// The file's sections; none where there is no file.
Result<std::map<std::string, Section>> read_ini(const std::string& path) {
  if (path.empty()) return std::map<std::string, Section>();
  const Result<std::string> text = sys::read_file(path, kFileBytesMax);
  if (text.ok()) return parse_ini(*text, path);
  if (text.error().kind == ErrorKind::not_found) return std::map<std::string, Section>();
  return invalid_argument("credentials file " + text.error().message);
}

std::string file_of(const Environment& environment, const std::string& variable, const std::string& name) {
  if (std::string given = value_of(environment, variable); !given.empty()) return given;
  const std::string home = value_of(environment, "HOME");
  return home.empty() ? "" : home + "/.aws/" + name;
}

std::string key_of(const Section& section, const std::string& key) {
  const auto at = section.find(key);
  return at == section.end() ? std::string() : at->second;
}

std::optional<Credentials> credentials_of(const Section& section) {
  Credentials found{key_of(section, "aws_access_key_id"), key_of(section, "aws_secret_access_key"),
                    key_of(section, "aws_session_token")};
  if (found.access_key.empty() || found.secret_key.empty()) return std::nullopt;
  return found;
}

struct Profile {
  std::string name = "default";
  Section credentials;  // of the shared credentials file
  Section config;       // of the config file
};

Result<Profile> read_profile(const Environment& environment) {
  Profile profile;
  std::string name = value_of(environment, "AWS_PROFILE");
  if (name.empty()) name = value_of(environment, "AWS_DEFAULT_PROFILE");
  const bool asked = !name.empty();
  if (asked) profile.name = name;
  ASSIGN_OR_RETURN(auto credentials, read_ini(file_of(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials")));
  ASSIGN_OR_RETURN(auto config, read_ini(file_of(environment, "AWS_CONFIG_FILE", "config")));
  const std::string in_config = profile.name == "default" ? "default" : "profile " + profile.name;
  if (asked && !credentials.contains(profile.name) && !config.contains(in_config))
    return invalid_argument("AWS_PROFILE: no file has a profile '" + profile.name + "'");
  profile.credentials = credentials[profile.name];
  profile.config = config[in_config];
  return profile;
}

Status choose_credentials(const Environment& environment, const Profile& profile, S3Settings& settings) {
  const Credentials given{value_of(environment, "AWS_ACCESS_KEY_ID"), value_of(environment, "AWS_SECRET_ACCESS_KEY"),
                          value_of(environment, "AWS_SESSION_TOKEN")};
  if (given.access_key.empty() != given.secret_key.empty()) {
    return invalid_argument(std::string(given.access_key.empty() ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY") +
                            " is not set, and its counterpart is");
  }
  if (!given.access_key.empty()) {
    settings.credentials = given;
    settings.source = "the environment";
    return {};
  }
  for (const Section& section : {profile.credentials, profile.config}) {
    if (settings.credentials) break;
    settings.credentials = credentials_of(section);
  }
  if (settings.credentials) {
    settings.source = "profile " + profile.name;
    return {};
  }
  const std::string relative = value_of(environment, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  settings.container_url =
      relative.empty() ? value_of(environment, "AWS_CONTAINER_CREDENTIALS_FULL_URI") : kContainerHost + relative;
  settings.container_token = value_of(environment, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
  settings.container_token_file = value_of(environment, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  if (!settings.container_url.empty()) {
    settings.source = "the container's credentials";
    return {};
  }
  settings.source = "the instance's metadata";
  if (const std::string url = value_of(environment, "AWS_EC2_METADATA_SERVICE_ENDPOINT"); !url.empty())
    settings.metadata_url = url;
  if (lower(value_of(environment, "AWS_EC2_METADATA_DISABLED")) == "true") settings.metadata_url.clear();
  return {};
}

Status check_endpoint(const std::string& endpoint) {
  const bool known = endpoint.starts_with("http://") || endpoint.starts_with("https://");
  const std::string rest = known ? endpoint.substr(endpoint.find("://") + 3) : "";
  if (rest.empty() || rest.find_first_of("/?#@ ") != std::string::npos)
    return invalid_argument("AWS_ENDPOINT_URL_S3: '" + endpoint + "' is not http(s)://HOST[:PORT]");
  return {};
}

// A host that no bucket's name can be put before: an address, or a name without a dot.
bool wants_path_style(const std::string& endpoint) {
  const std::string host = endpoint.substr(endpoint.find("://") + 3);
  const bool address = host.starts_with('[') || host.find_first_not_of("0123456789.:") == std::string::npos;
  return address || host.find(':') != std::string::npos || host.find('.') == std::string::npos;
}

}  // namespace

Result<std::map<std::string, Section>> parse_ini(const std::string& text, const std::string& file) {
  std::map<std::string, Section> sections;
  Section* section = nullptr;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string raw = text.substr(at, end - at);
    const std::string line = trimmed(raw);
    at = end + 1;
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    const std::string where = file + " line " + std::to_string(number + 1);
    if (line.front() == '[') {
      if (line.back() != ']') return invalid_argument(where + ": the section's name has no ']'");
      section = &sections[trimmed(line.substr(1, line.size() - 2))];
      continue;
    }
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos) return invalid_argument(where + ": neither a section nor KEY = VALUE");
    if (section == nullptr) return invalid_argument(where + ": before the first section");
    // Indented lines belong to a nested block like "s3 ="; addressing_style is the only one that matters here.
    (*section)[lower(trimmed(line.substr(0, equals)))] = trimmed(line.substr(equals + 1));
  }
  return sections;
}

Result<S3Settings> load_s3_settings(const Environment& environment) {
  S3Settings settings;
  ASSIGN_OR_RETURN(const Profile profile, read_profile(environment));
  const auto first_of = [](std::initializer_list<std::string> values) {
    for (const std::string& value : values) {
      if (!value.empty()) return value;
    }
    return std::string();
  };
  const std::string region = first_of({value_of(environment, "AWS_REGION"), value_of(environment, "AWS_DEFAULT_REGION"),
                                       key_of(profile.config, "region"), key_of(profile.credentials, "region")});
  if (!region.empty()) settings.region = region;
  if (settings.region.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos)
    return invalid_argument("AWS_REGION: '" + settings.region + "' is no region's name");
  settings.endpoint = first_of({value_of(environment, "AWS_ENDPOINT_URL_S3"), value_of(environment, "AWS_ENDPOINT_URL"),
                                key_of(profile.config, "endpoint_url")});
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  if (!settings.endpoint.empty()) {
    RETURN_IF_ERROR(check_endpoint(settings.endpoint));
    settings.path_style = wants_path_style(settings.endpoint);
  }
  const std::string style = value_of(environment, "THAW_S3_PATH_STYLE");
  if (!style.empty() && style != "0" && style != "1")
    return invalid_argument("THAW_S3_PATH_STYLE: '" + style + "' is neither 0 nor 1");
  if (!style.empty()) settings.path_style = style == "1";
  if (key_of(profile.config, "addressing_style") == "path") settings.path_style = true;
  settings.ca_file = value_of(environment, "AWS_CA_BUNDLE");
  RETURN_IF_ERROR(choose_credentials(environment, profile, settings));
  return settings;
}

}  // namespace thaw::adapters
