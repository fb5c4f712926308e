#include "serve_offline.h"

#include "adapters/csv/csv_table.h"
#include "adapters/postgres/table.h"
#include "adapters/postgres/table_append.h"
#include "adapters/sqlite/row_spool.h"
#include "adapters/sqlite/table.h"
#include "adapters/sqlite/table_append.h"
#include "base/sys.h"

namespace thaw::cli {
namespace {

constexpr std::uint64_t kSpoolBytesMax = 16ULL << 30;  // of one spool

using Table = Result<std::unique_ptr<ports::TableReader>>;

std::string path_of(const std::string& folder, const features::Source& source) {
  return source.path.starts_with('/') ? source.path : folder + "/" + source.path;
}

Table open_source(const std::string& folder, const features::Source& source, const ports::TableRequest& request) {
  const std::string path = path_of(folder, source);
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

Status append(const std::string& folder, const features::Source& source, const features::SourceRows& rows) {
  if (source.kind == features::SourceKind::csv)
    return invalid_argument(
        "to: the source is a CSV file, which is read alone: push to a table of SQLite or PostgreSQL");
  if (source.table.empty())
    return invalid_argument("to: the source is a query, which can only be read: push to a source with a table");
  if (source.kind == features::SourceKind::postgres)
    return adapters::append_postgres_rows(source.url, source.table, rows.columns, rows.json);
  return adapters::append_sqlite_rows(path_of(folder, source), source.table, rows.columns, rows.json);
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
          .append = [files](const features::Source& source,
                            const features::SourceRows& rows) { return append(files, source, rows); },
          .open_csv = [](const std::string& path) { return adapters::open_csv_table(path, {}); },
          .make_spool = make_spool});
  return offline;
}

}  // namespace thaw::cli
