// The snapshots of published versions: made in the background, lent to starts, made again when they are no good any
// more, removed when the disk they may take is used up.
//
//   published -> Pending -> Making (snapshot_making.h) -> Active, or Failed
//                             ^ again: another boot, kernel or CPU; files that changed; restores that fail; removed for
//                               room and called again; a disk that was full
//
// While a version has no image that can be used, its starts are inits: no request fails because of a snapshot. What is
// known of a version stands beside its image on disk; a version of which nothing is known is Pending, so that one whose
// making was interrupted is made at the next start of the daemon.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "http/loop.h"
#include "model/function.h"
#include "model/version_state.h"
#include "snapshot/image_cache.h"
#include "snapshot/snapshot_folder.h"

namespace thaw::pool {

class FunctionPool;
class Pool;
struct MakingOutcome;

struct SnapshotLimits {
  std::uint64_t disk_bytes_max = 10ULL << 30;   // of all images together; one more lies there while it is being made
  std::uint64_t memory_bytes_max = 1ULL << 30;  // of those that are kept in memory for the next restores
  std::string memory_folder;                    // for images in memory: a tmpfs with huge=advise; empty: none
  std::string runtime;                          // names Thaw and its version in RESTORE_START lines
  std::size_t makings_at_once_max = 2;
  // After a failure the next try waits so long, twice as long after each further one.
  std::chrono::milliseconds retry_after{10000};
  unsigned failures_max = 6;  // in a row; then not again until the daemon's next start
};

// Of one version.
struct SnapshotView {
  model::VersionState state;
  std::string making;             // what its making is at; empty when none is under way
  std::uint64_t image_bytes = 0;  // on disk; 0 without an image that can be used
  std::uint64_t restores = 0;     // since the daemon's start
  std::uint64_t restores_failed = 0;
};

struct SnapshotTotals {
  std::size_t images = 0;
  std::uint64_t disk_bytes = 0;
  std::uint64_t disk_bytes_max = 0;
  std::uint64_t memory_bytes = 0;
  std::size_t pending = 0;  // versions
  std::size_t making = 0;
  std::uint64_t removed_for_room = 0;  // since the daemon's start, as the rest
  std::uint64_t restores = 0;
  std::uint64_t restores_failed = 0;
};

// Ownership: belongs to the pool; borrows the folder. Threads: any; find_image() reads files, forget() removes them.
class SnapshotMaker {
 public:
  SnapshotMaker(Pool& pool, const snapshot::SnapshotFolder& folder, SnapshotLimits limits);
  ~SnapshotMaker();

  using RecordPointer = std::shared_ptr<const model::FunctionRecord>;
  // Once, at the daemon's start, before the loops run: every published version. What is left of others goes.
  void load(const std::vector<RecordPointer>& versions);
  // A version that has been published, perhaps not for the first time: one that has failed is made again.
  void add(const RecordPointer& version);
  void forget(const model::FunctionRecord& version);

  SnapshotView view(const model::FunctionRecord& version);
  SnapshotTotals totals();
  const std::string& runtime() const { return limits_.runtime; }

  // For starts: the image to restore, in memory, or none; then the start is an init.
  // Errors: those of load_image(); restore_failed() is then to be told.
  Result<std::shared_ptr<const snapshot::ImageMemory>> find_image(const model::FunctionRecord& version);
  bool has_image(const model::FunctionRecord& version);
  void restored(const model::FunctionRecord& version);
  void restore_failed(const model::FunctionRecord& version, const Error& error);

 private:
  using TimePoint = http::TimePoint;
  struct Entry {
    RecordPointer version;
    model::VersionState state;
    std::uint64_t image_bytes = 0;  // 0: none that can be used
    std::chrono::system_clock::time_point used_at{};
    bool removed_for_room = false;

    std::optional<TimePoint> wanted_at;      // a making that is to come
    std::shared_ptr<FunctionPool> workshop;  // of the making that is under way
    std::string making;
    unsigned failures = 0;  // of makings, and of images in use, since the last clone that served
    unsigned restores_failed_row = 0;
    bool inspecting = false;
    std::uint64_t restores = 0;
    std::uint64_t restores_failed = 0;
  };
  static bool has_snapshot(const model::FunctionRecord& version);
  // By the catalog's word.
  bool was_deleted(const model::FunctionRecord& version) const;
  Entry* find_locked(const std::string& revision_id);
  void load_one(const RecordPointer& version, const snapshot::StoredImage* image);
  void check_images();
  // Makes it again, at once or after a while, unless it failed too often.
  void want_locked(Entry& entry, std::chrono::milliseconds after);
  void want_after_failure_locked(Entry& entry);
  void drop_image_locked(Entry& entry, const std::string& why);
  // Both read and remove files. Errors of inspect(): what is wrong with the image.
  Status inspect(const std::string& revision_id) const;
  void condemn(const model::FunctionRecord& version, const Error& error);

  // Starts what is due.
  void pump();
  struct Due {
    RecordPointer version;
    std::shared_ptr<FunctionPool> workshop;
  };
  std::vector<Due> take_due();
  void wake_at(TimePoint at);
  http::Task<> make(Due due, http::Loop& loop);
  // The outcome of a making, on the maker's own thread.
  void settle(const RecordPointer& version, MakingOutcome& outcome);
  Status keep(const RecordPointer& version, MakingOutcome& outcome);
  Status make_room(const std::string& revision_id, std::uint64_t bytes);
  void on_failure(const RecordPointer& version, const MakingOutcome& outcome);
  void save(const std::string& revision_id, const model::VersionState& state);
  // To the function's log, unless the version was deleted meanwhile.
  void append_log(const RecordPointer& version, const std::string& lines);

  Pool& pool_;
  const snapshot::SnapshotFolder& folder_;
  const SnapshotLimits limits_;
  boost::asio::basic_waitable_timer<std::chrono::steady_clock, boost::asio::wait_traits<std::chrono::steady_clock>,
                                    http::Executor>
      timer_;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::unordered_map<std::string, Entry> entries_;  // by revision
  std::size_t makings_ = 0;
  SnapshotTotals totals_;

  snapshot::ImageCache images_;
  boost::asio::thread_pool worker_{1};  // last: uses all of the above
};

}  // namespace thaw::pool
