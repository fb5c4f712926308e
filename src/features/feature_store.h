// The feature store: what is defined, and the latest values of it, over an online store.
//
//   definitions.h   views, services, push sources; features.toml
//   registry.h      the definitions on disk
//   entity_key.h    an entity as a key, row_codec.h its features as a value
//   value_json.h    values in JSON
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "features/definitions.h"
#include "features/row_codec.h"
#include "features/view_indexes.h"
#include "ports/online_store.h"

namespace thaw::features {

inline constexpr std::size_t kEntitiesPerReadMax = 10'000;
inline constexpr std::size_t kFeaturesPerReadMax = 4096;
inline constexpr std::size_t kCellsPerReadMax = 1'000'000;          // entities × features
inline constexpr std::size_t kAnswerBytesMax = 128 << 20;           // of an answer's values
inline constexpr std::size_t kRowsPerWriteMax = 100'000;            // of write_columns() and push()
inline constexpr std::int64_t kKeptBehindTtlMs = 7LL * 86'400'000;  // that a row stays in the online store

// One entity's values at a time, as sources have them.
struct FeatureRow {
  std::vector<model::FeatureValue> entities;  // in the order of the view's entity keys
  std::vector<model::FeatureValue> values;    // in the order of the view's features; std::monostate: null
  std::int64_t event_ms = 0;
  std::int64_t created_ms = 0;  // 0: not known
};

struct EntityColumn {
  std::string name;
  boost::json::array values;
};

struct OnlineRequest {
  std::vector<std::string> features;  // "view:feature"
  std::string service;                // instead of them
  std::vector<EntityColumn> entities;
  bool full_names = false;  // "view__feature" in the answer
};

// As Feast's feature server names them.
enum class FieldStatus : std::uint8_t { present, null_value, not_found, outside_max_age };

struct OnlineColumn {
  std::string name;
  model::FeatureType type;
  std::size_t view = 0;  // whose event times these are; of OnlineAnswer::event_ms
  std::vector<FieldStatus> statuses;
  std::vector<model::FeatureValue> values;
};

struct OnlineAnswer {
  std::vector<EntityColumn> entities;
  std::vector<OnlineColumn> features;
  std::vector<std::vector<std::int64_t>> event_ms;  // of each view, each entity's; 0: there is no row
  // Likewise, whether a cache gave the row out though it is too old, because the store is away; of a view without such
  // rows, empty.
  std::vector<std::vector<bool>> stale;

  bool any_stale() const;
};

// Feast's GetOnlineFeaturesResponse as its server writes it; a result of stale rows says so of each in "stale".
std::string to_json(const OnlineAnswer& answer);

// The rows of a view whose vectors are nearest to a query.
struct SearchRequest {
  std::string view;
  std::vector<double> query;
  std::optional<boost::json::object> entities;  // instead of it: the vector of this entity
  std::size_t top_k = 10;
  std::optional<bool> approximate;  // vector_index.h decides otherwise
  std::size_t effort = kSearchEffortDefault;
  boost::json::object filter;         // entity keys and features: a value, or an array of those that may be
  std::vector<std::string> features;  // to give out
};

struct SearchHit {
  std::vector<model::FeatureValue> entities;
  std::vector<Cell> features;  // as they were asked for
  double distance = 0;
  double score = 0;
  std::int64_t event_ms = 0;
};

struct SearchAnswer {
  std::vector<EntityKey> entities;
  std::vector<model::FeatureField> features;
  std::vector<SearchHit> hits;  // the nearest first
  bool exact = true;
};

// {"results": [{"entities", "distance", "score", "features"}], "exact"}
std::string to_json(const SearchAnswer& answer);

// Feast's way to ask: features of one view, or a service that has such alone.
struct DocumentsRequest {
  std::vector<std::string> features;
  std::string service;
  std::vector<double> query;
  std::size_t top_k = 10;
  bool full_names = false;
};

enum class ApplyMode : std::uint8_t {
  keep_rows,  // what would make rows unreadable is refused
  drop_rows,  // the rows of such views go
};

// What apply() did to one definition.
struct Applied {
  enum class Kind : std::uint8_t { created, changed, unchanged };
  std::string what;  // "feature_view", "feature_service", "push_source"
  std::string name;
  Kind kind = Kind::unchanged;
  bool dropped_rows = false;
};

// Ownership: borrows the online store, which outlives it. Threads: any; calls block for the online store. Errors: of
// all, not_found for what is not defined; those of the online store.
class FeatureStore {
 public:
  // Errors: corrupt for a registry that is damaged.
  static Result<std::unique_ptr<FeatureStore>> open(ports::OnlineStore& online, std::string registry_path);

  // What is defined now; a later change makes a new one.
  std::shared_ptr<const Definitions> definitions() const;
  // Adds and replaces by name; what is not named stays. All or nothing. Errors: invalid_argument, conflict (keep_rows).
  Result<std::vector<Applied>> apply(const Definitions& changes, ApplyMode mode);
  // The view's rows go too. Errors: conflict while a service or a push source names it.
  Status remove_view(std::string_view name);
  Status remove_service(std::string_view name);
  Status remove_push_source(std::string_view name);

  // Errors: invalid_argument names the field and the limit; too_large.
  Result<OnlineAnswer> get_online(OnlineRequest request);
  // The same where it takes no waiting, from a cache; else nothing.
  Result<std::optional<OnlineAnswer>> get_online_now(const OnlineRequest& request);
  // The first search of a view reads all of its rows. Errors: invalid_argument names the field; too_large; unavailable
  // while another search reads them.
  Result<SearchAnswer> search(const SearchRequest& request);
  // With a column "distance" behind the features.
  Result<OnlineAnswer> search_documents(const DocumentsRequest& request);
  // How many rows of the online store the request is about, where that is known without it; for scheduling.
  std::size_t rows_of(const OnlineRequest& request) const;

  // What sources and materialisation call. view: as definitions() has it. Errors: conflict when it has changed
  // meanwhile; invalid_argument names the row and the column.
  Status write_rows(const FeatureView& view, std::span<const FeatureRow> rows);
  // Rows as columns of equal length: the entities, all features, event_timestamp, and created where it is known.
  // Returns the number of rows. Errors: invalid_argument names the column and the row.
  Result<std::size_t> write_columns(std::string_view view, const boost::json::object& columns);
  // The rows of such columns. Errors: as write_columns().
  static Result<std::vector<FeatureRow>> rows_of(const FeatureView& view, const boost::json::object& columns);
  Result<std::size_t> push(std::string_view source, const boost::json::object& columns);

  ports::OnlineStore& online() { return online_; }

 private:
  struct Compiled;
  struct Plan;
  FeatureStore(ports::OnlineStore& online, std::string registry_path);

  std::shared_ptr<const Compiled> compiled() const;
  void publish(Definitions definitions);
  // Checks the request; names and types of the answer's columns are set.
  Result<Plan> plan(const Compiled& compiled, const OnlineRequest& request, OnlineAnswer& answer) const;
  // Makes room in the answer for all that is asked for, and puts it there; false: not without waiting.
  enum class Waiting : std::uint8_t { allowed, never };
  Result<bool> read_into(const Plan& plan, const OnlineRequest& request, Waiting waiting, OnlineAnswer& answer);
  // Whether there are rows that the view of afterwards could not read. Errors: conflict when they shall be kept.
  Result<bool> rows_in_the_way(const FeatureView& before, const FeatureView& after, ApplyMode mode);

  ports::OnlineStore& online_;
  const std::string registry_path_;
  ViewIndexes indexes_;
  // Writes of rows share it, changes of definitions have it alone: no row is written by a definition that is gone. Held
  // across the online store's I/O.
  std::shared_mutex changing_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Compiled> compiled_;  // guarded by mutex_; taken after changing_
};

}  // namespace thaw::features
