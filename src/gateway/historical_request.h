// What a request for historical features asks for. Internal to src/gateway.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gateway/control_request.h"

namespace thaw::gateway {

struct HistoricalQuestion {
  std::vector<std::string> features;  // "view:feature"
  std::string service;                // instead of them
  bool full_feature_names = false;
};

// Of a request whose entities are its body. Errors: invalid_argument names the parameter.
Result<HistoricalQuestion> historical_question(const Query& query);

struct HistoricalBody {
  HistoricalQuestion question;
  std::string entities_csv;
};

// {"features": ["view:feature"], "entities": {"driver_id": [1001], "event_timestamp": ["2026-01-31T12:00:00Z"]}}, with
// the entities' columns as a CSV file would have them. Errors: invalid_argument names the field.
Result<HistoricalBody> parse_historical_body(std::string_view body);

}  // namespace thaw::gateway
