// `thaw features`.
#pragma once

#include <string>
#include <vector>

#include "commands.h"

namespace thaw::cli {

struct FeaturesOptions {
  std::string file;  // of apply and push; "-" is standard input
  std::string name;  // of describe and delete; of push: the source
  std::string kind;  // view, service or push-source; empty: whichever has the name
  std::vector<std::string> features;
  std::string service;
  std::vector<std::string> entities;  // "key=value"
  bool full_names = false;
  bool force = false;
};
enum class FeaturesAction : std::uint8_t { apply, list, describe, remove, get, push };
// What an argument may be, by its name in the help: a DEFINITION, a SOURCE of a push, a FEATURE as VIEW:FEATURE.
Result<std::vector<std::string>> definition_names(Client& client, const std::string& argument);
int run_features(Session& session, FeaturesAction action, const FeaturesOptions& options);

}  // namespace thaw::cli
