// What S3 clients are told from outside: endpoint, region, credentials. Read once, by the process that may read the
// credentials file; what needs renewal is renewed over HTTP later on.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "adapters/s3/signature.h"
#include "base/result.h"

namespace thaw::adapters {

using Environment = std::map<std::string, std::string>;

struct S3Settings {
  // http(s)://HOST[:PORT]; empty: Amazon's own of the region.
  std::string endpoint;
  std::string region = "us-east-1";
  // The bucket in the path and not in the host's name: always where an endpoint is given by address or port.
  bool path_style = false;
  std::string ca_file;  // AWS_CA_BUNDLE

  // Long-lived keys, or those of a session, from the environment or a file.
  std::optional<Credentials> credentials;
  // Else: an address to ask for them (containers), with its token; else the instance's metadata service.
  std::string container_url;
  std::string container_token;
  std::string container_token_file;
  std::string metadata_url = "http://169.254.169.254";  // empty: AWS_EC2_METADATA_DISABLED
  // Where the credentials come from, for messages.
  std::string source;
};

// From AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE,
// AWS_CONTAINER_CREDENTIALS_{RELATIVE,FULL}_URI, AWS_CONTAINER_AUTHORIZATION_TOKEN(_FILE), AWS_EC2_METADATA_DISABLED,
// AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_CA_BUNDLE, THAW_S3_PATH_STYLE; and the two files. Errors: invalid_argument
// names the variable or the file and its line.
Result<S3Settings> load_s3_settings(const Environment& environment);

// One section of an INI file as Amazon's tools write them; names in lower case. Exposed for tests.
using Section = std::map<std::string, std::string>;
Result<std::map<std::string, Section>> parse_ini(const std::string& text, const std::string& file);

}  // namespace thaw::adapters
