#include "serve_offline.h"

#include "adapters/csv/csv_table.h"
#include "adapters/postgres/table.h"
#include "adapters/sqlite/row_spool.h"
#include "adapters/sqlite/table.h"
#include "base/sys.h"

namespace thaw::cli {
namespace {

constexpr std::uint64_t kSpoolBytesMax = 16ULL << 30;  // of one spool

using Table = Result<std::unique_ptr<ports::TableReader>>;

Table open_source(const std::string& folder, const features::Source& source, const ports::TableRequest& request) {
  const std::string path = source.path.starts_with('/') ? source.path : folder + "/" + source.path;
  switch (source.kind) {
    case features::SourceKind::csv:
      return adapters::open_csv_table(path, request);
    case features::SourceKind::sqlite:
      return adapters::open_sqlite_table({.path = path, .table = source.table, .query = source.query}, request);
    case features::SourceKind::postgres:
      return adapters::open_postgres_table({.url = source.url, .table = source.table, .query = source.query}, request);
  }
  return internal_error("a source of no kind");
}

}  // namespace

Result<std::unique_ptr<ServeOffline>> ServeOffline::open(features::FeatureStore& store, const OfflineOptions& options) {
  const std::string files = options.folder + "/offline";
  const std::string spool = options.folder + "/spool";
  // What a daemon that was killed has left.
  RETURN_IF_ERROR(sys::remove_tree(spool));
  RETURN_IF_ERROR(sys::make_directories(spool, 0700));
  RETURN_IF_ERROR(sys::make_directories(files));
  const features::OpenSource open = [files](const features::Source& source, const ports::TableRequest& request) {
    return open_source(files, source, request);
  };
  const ports::MakeRowSpool make_spool = [spool](ports::SpoolKeeps keeps) {
    return adapters::open_row_spool({.folder = spool, .bytes_max = kSpoolBytesMax, .keeps = keeps});
  };
  std::unique_ptr<ServeOffline> offline(new ServeOffline());
  ASSIGN_OR_RETURN(
      offline->jobs_,
      features::MaterializeJobs::open(
          store, {.file = options.folder + "/materialized.json", .open_source = open, .make_spool = make_spool}));
  offline->api_ = std::make_unique<gateway::OfflineFeaturesApi>(
      store, *offline->jobs_,
      gateway::OfflineFeaturesOptions{
          .folder = spool,
          .upload_bytes_max = options.upload_bytes_max,
          .open_source = open,
          .open_csv = [](const std::string& path) { return adapters::open_csv_table(path, {}); },
          .make_spool = make_spool});
  return offline;
}

}  // namespace thaw::cli
