#include "features/view_indexes.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

namespace thaw::features {
namespace {

using model::FeatureValue;

constexpr std::chrono::seconds kWaitMax{10};      // for another search that makes the index
constexpr std::chrono::seconds kFailureKept{30};  // that rows are too many
constexpr std::size_t kFirstRows = 256;           // of a scan; how large they are is known of those before alone
constexpr std::size_t kScanBytesWanted = 32 << 20;

Result<IndexedRow> indexed(const FeatureView& view, std::span<const FeatureSlot> slots, const ports::OnlineRow& row) {
  std::vector<Cell> cells(view.features.size());
  ASSIGN_OR_RETURN([[maybe_unused]] const std::size_t bytes, decode_row(row.value, slots, cells));
  std::vector<FeatureValue> values(cells.size());
  IndexedRow result{.event_ms = row.event_ms, .created_ms = row.created_ms, .expires_ms = row.expires_ms};
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (view.features[i].name != view.vector->feature) {
      values[i] = std::move(cells[i].value);
      continue;
    }
    const auto* numbers = std::get_if<std::vector<double>>(&cells[i].value);
    const auto finite = [](double number) { return std::isfinite(number); };
    // Rows that an older definition of the view let in may have other counts.
    if (numbers == nullptr || numbers->size() != view.vector->dimensions ||
        !std::all_of(numbers->begin(), numbers->end(), finite))
      continue;
    for (const double number : *numbers) result.vector.push_back(static_cast<float>(number));
  }
  ASSIGN_OR_RETURN(result.value, encode_row(slots, values));
  return result;
}

}  // namespace

struct ViewIndexes::Slot {
  explicit Slot(const FeatureView& of) : view(of) {}

  const FeatureView view;
  // Written to from the start: of two rows of a key the later one stays. None while the rows are too many. Guarded by
  // ViewIndexes::mutex_.
  std::shared_ptr<VectorIndex> index;
  std::timed_mutex filling;  // held across the online store's I/O; guards all below
  bool filled = false;
  std::optional<Error> failed;  // because rows are too many
  std::chrono::steady_clock::time_point failed_at;
};

std::shared_ptr<ViewIndexes::Slot> ViewIndexes::slot_of(const FeatureView& view) {
  const std::lock_guard lock(mutex_);
  auto& slot = slots_[view.name];
  if (!slot || !(slot->view == view)) slot = std::make_shared<Slot>(view);
  return slot;
}

Result<std::shared_ptr<VectorIndex>> ViewIndexes::get(const FeatureView& view, std::span<const FeatureSlot> slots) {
  const auto slot = slot_of(view);
  const std::unique_lock filling(slot->filling, kWaitMax);
  if (!filling)
    return Error{ErrorKind::unavailable,
                 "the vectors of '" + view.name + "' are being read from the online store: try again"};
  if (slot->failed && std::chrono::steady_clock::now() - slot->failed_at < kFailureKept) return *slot->failed;
  slot->failed.reset();
  const auto index = index_of(*slot);
  if (slot->filled) return index;
  const Status done = fill(view, slots, *index);
  slot->filled = done.ok();
  if (done.ok()) return index;
  if (done.error().kind == ErrorKind::too_large) {
    slot->failed = done.error();
    slot->failed_at = std::chrono::steady_clock::now();
    const std::lock_guard lock(mutex_);
    slot->index.reset();  // other views may have the room
  }
  return done.error();
}

std::shared_ptr<VectorIndex> ViewIndexes::index_of(Slot& slot) {
  const std::lock_guard lock(mutex_);
  if (!slot.index) slot.index = std::make_shared<VectorIndex>(*slot.view.vector, bytes_);
  return slot.index;
}

Status ViewIndexes::fill(const FeatureView& view, std::span<const FeatureSlot> slots, VectorIndex& index) {
  std::string after;
  std::size_t count = kFirstRows;
  for (;;) {
    ASSIGN_OR_RETURN(const auto rows, online_.scan(view.name, after, count));
    std::size_t bytes = 0;
    for (const ports::OnlineRow& row : rows) {
      bytes += row.value.size();
      ASSIGN_OR_RETURN(IndexedRow one, indexed(view, slots, row));
      RETURN_IF_ERROR(index.put(row.key, std::move(one)));
    }
    if (rows.size() < count) return {};
    after = rows.back().key;
    count = std::clamp<std::size_t>(kScanBytesWanted / std::max<std::size_t>(1, bytes / rows.size()), 1,
                                    ports::kOnlineKeysMax);
  }
}

void ViewIndexes::written(const FeatureView& view, std::span<const FeatureSlot> slots,
                          std::span<const ports::OnlineRow> rows) {
  std::shared_ptr<Slot> slot;
  std::shared_ptr<VectorIndex> index;
  {
    const std::lock_guard lock(mutex_);
    const auto found = slots_.find(view.name);
    if (found == slots_.end()) return;
    slot = found->second;
    index = slot->index;
  }
  // Made for another definition, or out of room: the next search starts anew.
  if (!(slot->view == view)) return forget(view.name);
  if (!index) return;
  for (const ports::OnlineRow& row : rows) {
    auto one = indexed(view, slots, row);
    if (!one.ok() || !index->put(row.key, *std::move(one)).ok()) return forget(view.name);
  }
}

void ViewIndexes::forget(std::string_view view) {
  std::shared_ptr<Slot> gone;  // goes without the lock
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(view);
  if (found == slots_.end()) return;
  gone = std::move(found->second);
  slots_.erase(found);
}

}  // namespace thaw::features
