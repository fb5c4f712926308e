// Objects behind plain HTTPS addresses, and the files of a repository of the Hugging Face Hub. Read only.
//
// Redirects are followed within a bound, to https alone (http where the first address was), and credentials go to the
// first host alone. A redirect is remembered for the ranges that follow until it is refused, because a hub's own server
// is slower than where it sends its clients.
#pragma once

#include <memory>
#include <string>

#include "ports/object_store.h"

namespace thaw::adapters {

struct HttpStoreOptions {
  std::string base;        // "https://host[:port]"; keys are paths below it, with their query, encoded as they are sent
  std::string token = {};  // sent as "Authorization: Bearer" to base's own host; empty: none
  std::string user_agent = "thaw";
  std::string ca_file = {};
};
std::shared_ptr<ports::ObjectStore> open_http_store(HttpStoreOptions options);

struct HubOptions {
  std::string endpoint = "https://huggingface.co";
  std::string repository;  // "OWNER/REPO"
  std::string revision = "main";
  std::string token = {};
  std::string user_agent = "thaw";
  std::string ca_file = {};
};
// Keys are the repository's files.
std::shared_ptr<ports::ObjectStore> open_hub_store(HubOptions options);

}  // namespace thaw::adapters
