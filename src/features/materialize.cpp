#include "features/materialize.h"

#include <numeric>

#include "features/entity_key.h"
#include "features/row_codec.h"

namespace thaw::features {
namespace {

constexpr std::size_t kWriteRowsMax = 2000;  // of one write to the online store
constexpr std::size_t kWriteBytesMax = 8 << 20;

Error cancelled_error(const FeatureView& view) {
  return {ErrorKind::conflict, "materialization of feature view " + view.name + " was cancelled"};
}

std::int64_t floor_ms(std::int64_t time_us) { return time_us / 1000 - (time_us % 1000 < 0 ? 1 : 0); }

Status spool_latest(const FeatureView& view, ViewRows& rows, ports::RowSpool& spool, MaterializeProgress& progress,
                    const std::atomic<bool>& cancelled) {
  const std::vector<FeatureSlot> slots = feature_slots(view.features);
  ViewRow row;
  while (true) {
    if (cancelled) return cancelled_error(view);
    ASSIGN_OR_RETURN(const bool more, rows.next(row));
    progress.rows_read = rows.rows_read();
    progress.rows_passed_over = rows.rows_passed_over();
    if (!more) return {};
    ASSIGN_OR_RETURN(std::string value, encode_row(slots, row.values));
    RETURN_IF_ERROR(spool.put({row.key, row.event_us, row.created_us, std::move(value)}));
  }
}

Result<FeatureRow> feature_row(const FeatureView& view, std::span<const FeatureSlot> slots,
                               const ports::SpoolRow& spooled) {
  FeatureRow row{.event_ms = floor_ms(spooled.event_us), .created_ms = floor_ms(spooled.created_us)};
  ASSIGN_OR_RETURN(row.entities, decode_entity_key(view.entities, spooled.key));
  std::vector<Cell> cells(slots.size());
  RETURN_IF_ERROR(decode_row(spooled.value, slots, cells));
  for (Cell& cell : cells) row.values.push_back(std::move(cell.value));
  return row;
}

Status write_latest(const FeatureView& view, ports::RowSpool& spool, FeatureStore& store, MaterializeProgress& progress,
                    const std::atomic<bool>& cancelled) {
  const std::vector<FeatureSlot> slots = feature_slots(view.features);
  std::optional<std::string> after;
  while (true) {
    if (cancelled) return cancelled_error(view);
    ASSIGN_OR_RETURN(std::vector<ports::SpoolRow> spooled, spool.scan(after, kWriteRowsMax, kWriteBytesMax));
    if (spooled.empty()) return {};
    after = spooled.back().key;
    std::vector<FeatureRow> rows;
    rows.reserve(spooled.size());
    for (const ports::SpoolRow& one : spooled) {
      ASSIGN_OR_RETURN(FeatureRow row, feature_row(view, slots, one));
      rows.push_back(std::move(row));
    }
    RETURN_IF_ERROR(store.write_rows(view, rows));
    progress.rows_written += rows.size();
  }
}

}  // namespace

Status materialize(const FeatureView& view, const MaterializeRange& range, const MaterializeParts& parts,
                   MaterializeProgress& progress, const std::atomic<bool>& cancelled) {
  if (range.from_us > range.until_us) return invalid_argument("start must not be after end");
  ViewRowsRequest request{.from_us = range.from_us, .until_us = range.until_us};
  request.features.resize(view.features.size());
  std::iota(request.features.begin(), request.features.end(), std::size_t{0});
  ASSIGN_OR_RETURN(ViewRows rows, ViewRows::open(view, parts.open_source, request));
  ASSIGN_OR_RETURN(const auto spool, parts.make_spool(ports::SpoolKeeps::latest));
  RETURN_IF_ERROR(spool_latest(view, rows, *spool, progress, cancelled));
  return write_latest(view, *spool, parts.store, progress, cancelled);
}

}  // namespace thaw::features
