// `thaw features materialize`, `materialize-incremental`, `jobs` and `historical`: sources of feature views.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "commands.h"

namespace thaw::cli {

struct MaterializeOptions {
  std::string start;
  std::string end;  // empty: now
  std::vector<std::string> views;
};

struct HistoricalOptions {
  std::string entities;
  std::vector<std::string> features;
  std::string service;
  std::string output;  // empty: standard output
  bool full_feature_names = false;
};

struct OfflineFeaturesOptions {
  MaterializeOptions materialize;
  HistoricalOptions historical;
};

// To the command `thaw features`.
void add_offline_features(CLI::App& features, OfflineFeaturesOptions& options);
// Whether the subcommand of `thaw features` that was parsed is one of these.
bool is_offline_features(const CLI::App& features);
int run_offline_features(Session& session, const CLI::App& features, const OfflineFeaturesOptions& options);

}  // namespace thaw::cli
