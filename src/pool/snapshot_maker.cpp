#include "pool/snapshot_maker.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <set>
#include <utility>

#include "base/log.h"
#include "pool/function_pool.h"
#include "pool/snapshot_check.h"
#include "snapshot/image_file.h"

namespace thaw::pool {

using Clock = std::chrono::steady_clock;
using model::VersionPhase;
using namespace std::chrono_literals;

namespace {

// So many in a row condemn an image, when each may have been its fault.
constexpr unsigned kRestoresFailedMax = 3;
// A version whose image was removed for room, and which is called all the time, does not drive the others out at once.
constexpr auto kRemadeAfterRemovalMin = 10s;

// What a restore that failed says of its image.
enum class Verdict : std::uint8_t {
  good,     // nothing: Thaw or the machine lacks something for the moment, or cannot start anything
  suspect,  // a clone that crashed, a hook that failed: it may have been the outside world's fault
  bad,      // it fails each time, here
};

Verdict verdict_of(const Error& error) {
  switch (error.kind) {
    case ErrorKind::unsupported:
    case ErrorKind::corrupt:
    case ErrorKind::not_found:
      return Verdict::bad;
    case ErrorKind::function_failed:
      return error.code == "Function.OutOfMemory" ? Verdict::bad : Verdict::suspect;
    case ErrorKind::internal:
      return error.code == "Snapshot.RestoreFailed" ? Verdict::suspect : Verdict::good;
    default:
      return Verdict::good;
  }
}

}  // namespace

SnapshotMaker::SnapshotMaker(Pool& pool, const snapshot::SnapshotFolder& folder, SnapshotLimits limits)
    : pool_(pool),
      folder_(folder),
      limits_(std::move(limits)),
      timer_(pool.loops_[0].executor()),
      images_(limits_.memory_bytes_max) {
  totals_.disk_bytes_max = limits_.disk_bytes_max;
}

SnapshotMaker::~SnapshotMaker() {
  images_.forget_all();  // whose loading may still tell of damage
  worker_.join();
}

bool SnapshotMaker::has_snapshot(const model::FunctionRecord& version) {
  return version.config.snapshot && version.version != model::kLatestVersion;
}

bool SnapshotMaker::was_deleted(const model::FunctionRecord& version) const {
  return pool_.exists_ && !pool_.exists_(version);
}

SnapshotMaker::Entry* SnapshotMaker::find_locked(const std::string& revision_id) {
  const auto found = entries_.find(revision_id);
  return found == entries_.end() ? nullptr : &found->second;
}

// ---- What there is
// ----------------------------------------------------------------------------------------------------

void SnapshotMaker::load(const std::vector<RecordPointer>& versions) {
  std::set<std::string> revisions;
  for (const RecordPointer& version : versions) {
    if (has_snapshot(*version)) revisions.insert(version->revision_id);
  }
  folder_.keep_only(revisions);
  std::unordered_map<std::string, snapshot::StoredImage> images;
  for (auto& image : folder_.images()) images.emplace(image.revision_id, image);
  for (const RecordPointer& version : versions) {
    if (!has_snapshot(*version)) continue;
    const auto image = images.find(version->revision_id);
    load_one(version, image == images.end() ? nullptr : &image->second);
  }
  boost::asio::post(worker_, [this] {
    check_images();
    pump();
  });
}

void SnapshotMaker::load_one(const RecordPointer& version, const snapshot::StoredImage* image) {
  Entry entry{.version = version};
  entry.state.phase = VersionPhase::pending;
  if (const auto text = folder_.load_state(version->revision_id); text.ok()) {
    auto state = model::version_state_from_json(*text);
    if (state.ok()) entry.state = std::move(*state);
    if (!state.ok())
      log::error("version_state_unreadable function={} version={} error=\"{}\"", version->config.name, version->version,
                 state.error().message);
  }
  // A clone of an image has answered before its version is Active; one of a Pending version is of a daemon that was
  // killed just then, and is made anew.
  if (image != nullptr && entry.state.phase == VersionPhase::active) {
    entry.image_bytes = image->disk_bytes;
    entry.used_at = image->used_at;
  }
  if (entry.image_bytes == 0 && !entry.state.snapshot_made_at.empty() && entry.state.no_snapshot.empty())
    entry.state.no_snapshot = "its file is gone; it is made again when the version is called";
  if (entry.state.phase == VersionPhase::pending || (entry.state.retry && entry.image_bytes == 0))
    entry.wanted_at = Clock::now();
  const std::lock_guard lock(mutex_);
  entries_.insert_or_assign(version->revision_id, std::move(entry));
}

// What another boot or another kernel has left, or whose files were replaced, is made again before a start stumbles
// over it.
void SnapshotMaker::check_images() {
  std::vector<RecordPointer> versions;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [revision, entry] : entries_) {
      if (entry.image_bytes > 0) versions.push_back(entry.version);
    }
  }
  for (const RecordPointer& version : versions) {
    if (pool_.stopping_) return;
    const auto image = folder_.find(version->revision_id);
    const Status fits = image.ok() ? check_image(*image) : Status(image.error());
    if (fits.ok()) continue;
    log::warn("snapshot_outdated function={} version={} error=\"{}\"", version->config.name, version->version,
              fits.error().message);
    {
      const std::lock_guard lock(mutex_);
      Entry* entry = find_locked(version->revision_id);
      if (entry == nullptr) continue;
      drop_image_locked(*entry, fits.error().message);
      want_locked(*entry, 0ms);
    }
    folder_.remove(version->revision_id);
  }
}

void SnapshotMaker::add(const RecordPointer& version) {
  if (!has_snapshot(*version)) return;
  {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[version->revision_id];
    // Publishing again what has failed tries again.
    if (entry.version != nullptr && entry.state.phase != VersionPhase::failed) return;
    if (entry.version == nullptr) entry.version = version;
    entry.state = {.phase = VersionPhase::pending};
    entry.wanted_at = Clock::now();
  }
  // Deleted between its publishing and here: forget() has come and gone, and will not come again.
  if (was_deleted(*version)) return forget(*version);
  pump();
}

void SnapshotMaker::forget(const model::FunctionRecord& version) {
  if (!has_snapshot(version)) return;
  std::shared_ptr<FunctionPool> workshop;
  {
    const std::lock_guard lock(mutex_);
    if (Entry* entry = find_locked(version.revision_id)) workshop = entry->workshop;
    entries_.erase(version.revision_id);
  }
  if (workshop != nullptr) workshop->stop();
  images_.forget(version.revision_id);
  folder_.forget(version.revision_id);
}

SnapshotView SnapshotMaker::view(const model::FunctionRecord& version) {
  const std::lock_guard lock(mutex_);
  const Entry* entry = find_locked(version.revision_id);
  if (entry == nullptr) return {};
  return {.state = entry->state,
          .making = entry->making,
          .image_bytes = entry->image_bytes,
          .restores = entry->restores,
          .restores_failed = entry->restores_failed};
}

SnapshotTotals SnapshotMaker::totals() {
  const std::lock_guard lock(mutex_);
  SnapshotTotals totals = totals_;
  totals.making = makings_;
  totals.memory_bytes = images_.bytes();
  for (const auto& [revision, entry] : entries_) {
    totals.images += entry.image_bytes > 0;
    totals.disk_bytes += entry.image_bytes;
    totals.pending += entry.state.phase == VersionPhase::pending;
  }
  return totals;
}

// ---- For starts
// -------------------------------------------------------------------------------------------------------

Result<std::shared_ptr<const snapshot::ImageMemory>> SnapshotMaker::find_image(const model::FunctionRecord& version) {
  const std::shared_ptr<const snapshot::ImageMemory> none;
  if (!has_snapshot(version)) return none;
  bool remake = false;
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = find_locked(version.revision_id);
    if (entry == nullptr || entry->state.phase != VersionPhase::active) return none;
    if (entry->image_bytes == 0) {
      // Removed for room, or by somebody: it is called again, so it is made again.
      remake = !entry->state.snapshot_made_at.empty() && !entry->wanted_at && entry->workshop == nullptr;
      if (!remake) return none;
      want_locked(*entry, entry->removed_for_room ? kRemadeAfterRemovalMin : 0s);
    } else {
      entry->used_at = std::chrono::system_clock::now();
    }
  }
  if (remake) {
    pump();
    return none;
  }
  return images_.get(version.revision_id, [&]() -> Result<snapshot::ImageMemory> {
    ASSIGN_OR_RETURN(const UniqueFd file, folder_.find(version.revision_id));
    snapshot::SnapshotFolder::mark_used(file);
    // Clones that have begun without the rest end when the rest is damaged.
    const auto rest_failed = [this, version](const Error& error) {
      boost::asio::post(worker_, [this, version, error] {
        condemn(version, error);
        pool_.end_restored(PoolKeyView(version));
      });
    };
    return snapshot::load_image(file, {.rest_failed = rest_failed, .folder = limits_.memory_folder});
  });
}

bool SnapshotMaker::has_image(const model::FunctionRecord& version) {
  const std::lock_guard lock(mutex_);
  const Entry* entry = find_locked(version.revision_id);
  return entry != nullptr && entry->state.phase == VersionPhase::active && entry->image_bytes > 0;
}

void SnapshotMaker::restored(const model::FunctionRecord& version) {
  const std::lock_guard lock(mutex_);
  ++totals_.restores;
  Entry* entry = find_locked(version.revision_id);
  if (entry == nullptr) return;
  ++entry->restores;
  entry->restores_failed_row = 0;
  entry->failures = 0;
}

void SnapshotMaker::restore_failed(const model::FunctionRecord& version, const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    ++totals_.restores_failed;
    Entry* entry = find_locked(version.revision_id);
    if (entry == nullptr) return;
    ++entry->restores_failed;
    // Of a burst each restore fails; the first has dropped the image.
    if (entry->image_bytes == 0) return;
    // What fails because everything ends says nothing.
    if (pool_.stopping_) return;
    const Verdict verdict = verdict_of(error);
    if (verdict == Verdict::suspect) ++entry->restores_failed_row;
    if (verdict != Verdict::bad && entry->restores_failed_row < kRestoresFailedMax) {
      // Not every error says whose fault it was: the image itself tells. Once for all that fail meanwhile.
      if (std::exchange(entry->inspecting, true)) return;
      boost::asio::post(worker_, [this, record = entry->version] {
        const Status good = inspect(record->revision_id);
        {
          const std::lock_guard again(mutex_);
          if (Entry* inspected = find_locked(record->revision_id)) inspected->inspecting = false;
        }
        if (!good.ok()) condemn(*record, good.error());
      });
      return;
    }
  }
  boost::asio::post(worker_, [this, version, error] { condemn(version, error); });
}

Status SnapshotMaker::inspect(const std::string& revision_id) const {
  ASSIGN_OR_RETURN(const UniqueFd image, folder_.find(revision_id));
  RETURN_IF_ERROR(check_image(image));
  return snapshot::verify_pages(image);
}

// The image is no good any more: another one is made.
void SnapshotMaker::condemn(const model::FunctionRecord& version, const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = find_locked(version.revision_id);
    if (entry == nullptr || entry->image_bytes == 0) return;
    drop_image_locked(*entry, error.message);
    want_after_failure_locked(*entry);
  }
  log::error("snapshot_removed function={} version={} error=\"{}\"", version.config.name, version.version,
             error.message);
  images_.forget(version.revision_id);
  folder_.remove(version.revision_id);
  pump();
}

void SnapshotMaker::drop_image_locked(Entry& entry, const std::string& why) {
  entry.image_bytes = 0;
  entry.restores_failed_row = 0;
  entry.state.snapshot_made_at.clear();
  entry.state.no_snapshot = "it is being made again: " + why;
  entry.state.retry = true;
}

// ---- Room
// -------------------------------------------------------------------------------------------------------------

// Removes the images that were used longest ago until this one fits.
Status SnapshotMaker::make_room(const std::string& revision_id, std::uint64_t bytes) {
  if (bytes > limits_.disk_bytes_max) {
    return Error{ErrorKind::too_large, "it takes " + std::to_string(bytes >> 20) +
                                           " MB, and all snapshots together may take " +
                                           std::to_string(limits_.disk_bytes_max >> 20) + " MB (snapshots_max_mb)"};
  }
  std::vector<std::pair<RecordPointer, model::VersionState>> removed;
  {
    const std::lock_guard lock(mutex_);
    std::uint64_t total = bytes;
    std::vector<Entry*> others;
    for (auto& [revision, entry] : entries_) {
      if (revision == revision_id || entry.image_bytes == 0) continue;
      total += entry.image_bytes;
      others.push_back(&entry);
    }
    std::sort(others.begin(), others.end(), [](const Entry* a, const Entry* b) { return a->used_at < b->used_at; });
    for (Entry* entry : others) {
      if (total <= limits_.disk_bytes_max) break;
      total -= entry->image_bytes;
      entry->image_bytes = 0;
      entry->removed_for_room = true;
      entry->state.no_snapshot =
          "it was removed to make room for others (snapshots_max_mb); it is made again when the "
          "version is called";
      entry->state.retry = false;
      ++totals_.removed_for_room;
      removed.emplace_back(entry->version, entry->state);
    }
  }
  for (const auto& [version, state] : removed) {
    log::info("snapshot_removed_for_room function={} version={}", version->config.name, version->version);
    images_.forget(version->revision_id);
    folder_.remove(version->revision_id);
    save(version->revision_id, state);
  }
  return {};
}

}  // namespace thaw::pool
