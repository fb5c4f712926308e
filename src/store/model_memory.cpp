#include "store/model_memory.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>

#include "base/digest/sha256.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/uuid.h"
#include "model/gguf.h"
#include "store/fetch.h"
#include "store/model_file.h"
#include "store/model_plan.h"
#include "store/model_uri.h"
#include "store/open_model_memory.h"

namespace thaw::store {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kFailuresShownMax = 64;
// Others wait. Each has buffers of 2.5 MB for every connection.
constexpr unsigned kFetchesAtOnceMax = 4;
constexpr std::uint64_t kPageBytes = 4096;

struct Entry {
  ModelRecord record;
  std::uint64_t memory_bytes = 0;
  std::uint32_t holds = 0;
  Clock::time_point used_last = Clock::now();
  bool going = false;  // being removed: no one gets it any more
};

struct Got {
  std::shared_ptr<Entry> entry;
  std::shared_ptr<const void> hold;
};

// One fetch of an address, and everyone who waits for it.
struct Fetching {
  explicit Fetching(ModelSource what) : source(std::move(what)) {}

  const ModelSource source;
  Clock::time_point began = Clock::now();
  FetchState state;
  std::uint64_t bytes = 0;  // guarded by the mutex of State; 0 until the store has told
  bool done = false;        // guarded
  std::optional<Error> error;
  Got got;  // its hold keeps the model until the last who waited has taken their own
};

struct Failure {
  std::string uri;
  std::string error;
};

// What holds refer to, which may outlive the memory's object.
struct State {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::shared_ptr<Entry>> entries;      // by id
  std::map<std::string, std::shared_ptr<Fetching>> fetching;  // by uri
  std::deque<Failure> failures;                               // of the last tries, oldest first
  unsigned callers = 0;                                       // inside fetch()
  unsigned running = 0;                                       // fetches
  bool closing = false;
};

bool same(const ModelSource& a, const ModelSource& b) {
  return a.uri == b.uri && a.sha256 == b.sha256 && a.digest == b.digest;
}

// Under the mutex.
std::shared_ptr<const void> hold(const std::shared_ptr<State>& state, const std::shared_ptr<Entry>& entry) {
  ++entry->holds;
  return {entry.get(), [state, entry](const void*) {
            const std::lock_guard lock(state->mutex);
            --entry->holds;
            entry->used_last = Clock::now();
          }};
}

std::string megabytes(std::uint64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20); }

class FolderModelMemory : public ModelMemory {
 public:
  FolderModelMemory(std::string folder, ModelMemoryOptions options)
      : folder_(std::move(folder)), options_(std::move(options)) {}

  ~FolderModelMemory() override {
    std::unique_lock lock(state_->mutex);
    state_->closing = true;
    for (auto& [uri, fetching] : state_->fetching) fetching->state.stop = true;
    state_->changed.notify_all();
    state_->changed.wait(lock, [&] { return state_->callers == 0; });
  }

  Status open();
  Result<ModelHold> fetch(const ModelSource& source) override;
  std::vector<ModelView> list() override;
  Status remove(const std::string& uri_or_id) override;
  std::optional<Clock::time_point> oldest_unused() override;
  bool drop_oldest_unused() override;

 private:
  std::string models() const { return folder_ + "/models"; }
  std::string place(const std::string& id) const { return models() + "/" + id; }
  std::string new_staging() const { return folder_ + "/fetching/" + random_uuid(); }

  Status take_in(const std::string& id);
  Result<ModelHold> hold_of(Got got) const;
  Result<ModelHold> fetch_or_wait(const ModelUri& uri, const ModelSource& source);
  Result<Got> fetch_now(const ModelUri& uri, Fetching& fetching);
  Result<Got> bring(const ModelUri& uri, ports::ObjectStore& store, const ModelPlan& plan, Fetching& fetching);
  Result<Got> fill(const std::string& staging, const ModelUri& uri, ports::ObjectStore& store, const ModelPlan& plan,
                   Fetching& fetching);
  std::optional<Got> find_same(const ModelSource& source, const ModelPlan& plan);
  Result<Got> publish(const std::string& staging, ModelRecord record, std::uint64_t memory_bytes);
  void settle(Fetching& fetching, const Result<Got>& got);
  void drop(const std::shared_ptr<Entry>& entry);

  const std::string folder_;
  const ModelMemoryOptions options_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

Status FolderModelMemory::open() {
  RETURN_IF_ERROR(sys::make_directories(models()));
  RETURN_IF_ERROR(sys::remove_tree(folder_ + "/fetching"));
  RETURN_IF_ERROR(sys::make_directories(folder_ + "/fetching"));
  std::error_code error;
  std::vector<std::string> ids;
  for (const auto& entry : fs::directory_iterator(models(), error)) ids.push_back(entry.path().filename());
  if (error) return sys::errno_error(models(), error.value());
  for (const std::string& id : ids) {
    const Status taken = take_in(id);
    if (taken.ok()) continue;
    log::warn("model_dropped id={} reason={}", id, taken.error().message);
    RETURN_IF_ERROR(sys::remove_tree(place(id)));
  }
  return {};
}

// A model that an earlier daemon has left. It was renamed into its place when it was whole, so its names and sizes are
// looked at and its contents are not read again.
Status FolderModelMemory::take_in(const std::string& id) {
  ASSIGN_OR_RETURN(const std::string json, sys::read_file(place(id) + "/model.json", kModelFileBytesMax));
  auto entry = std::make_shared<Entry>();
  ASSIGN_OR_RETURN(entry->record, model_record(json));
  if (entry->record.info.id != id) return Error{ErrorKind::corrupt, "its folder has another model's name"};
  std::error_code error;
  std::uint64_t bytes = 0;
  std::size_t count = 0;
  for (auto it = fs::recursive_directory_iterator(place(id) + "/files", error);
       !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (it->is_directory(error)) continue;
    if (!it->is_regular_file(error) || ++count > kModelFilesMax)
      return Error{ErrorKind::corrupt, "its folder holds what was never fetched"};
    const std::uint64_t size = it->file_size(error);
    bytes += size;
    entry->memory_bytes += (size + kPageBytes - 1) / kPageBytes * kPageBytes;
  }
  if (error || bytes != entry->record.info.bytes) return Error{ErrorKind::corrupt, "its files are not whole"};
  if (!options_.budget.take(entry->memory_bytes))
    return Error{ErrorKind::too_large, "it does not fit into memory_max_mb any more"};
  const std::lock_guard lock(state_->mutex);
  state_->entries[id] = std::move(entry);
  return {};
}

Result<ModelHold> FolderModelMemory::hold_of(Got got) const {
  ModelHold held;
  {
    const std::lock_guard lock(state_->mutex);
    held.info = got.entry->record.info;
  }
  ASSIGN_OR_RETURN(held.folder, sys::open(place(held.info.id) + "/files", O_PATH | O_DIRECTORY));
  held.hold = std::move(got.hold);
  return held;
}

Result<ModelHold> FolderModelMemory::fetch(const ModelSource& source) {
  ASSIGN_OR_RETURN(const ModelUri uri, parse_model_uri(source.uri));
  if (!source.sha256.empty() && !is_sha256_hex(source.sha256))
    return invalid_argument("the model's SHA-256 must be 64 lower-case hex digits");
  if (!source.sha256.empty() && uri.folder) return invalid_argument("a folder of objects has no SHA-256: leave it out");
  if (!source.digest.empty() && !is_sha256_hex(source.digest))
    return invalid_argument("the model's digest must be 64 lower-case hex digits");
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->closing) return Error{ErrorKind::unavailable, "the daemon is stopping"};
    ++state_->callers;
  }
  auto fetched = fetch_or_wait(uri, source);
  const std::lock_guard lock(state_->mutex);
  --state_->callers;
  state_->changed.notify_all();
  return fetched;
}

Result<ModelHold> FolderModelMemory::fetch_or_wait(const ModelUri& uri, const ModelSource& source) {
  // Goes after the lock: the last of a fetch's references gives its hold back, which takes the mutex.
  std::vector<std::shared_ptr<Fetching>> seen;
  for (std::unique_lock lock(state_->mutex);;) {
    const auto known =
        source.digest.empty() ? state_->entries.end() : state_->entries.find(model_id(source.uri, source.digest));
    if (known != state_->entries.end() && !known->second->going &&
        (source.sha256.empty() || source.sha256 == known->second->record.sha256)) {
      Got got{known->second, hold(state_, known->second)};
      lock.unlock();
      return hold_of(std::move(got));
    }
    const auto at = state_->fetching.find(source.uri);
    if (at == state_->fetching.end()) {
      seen.push_back(std::make_shared<Fetching>(source));
      state_->fetching[source.uri] = seen.back();
      break;
    }
    seen.push_back(at->second);
    const Fetching& other = *seen.back();
    state_->changed.wait(lock, [&] { return other.done; });
    if (!same(other.source, source)) continue;
    if (other.error) return *other.error;
    Got got{other.got.entry, hold(state_, other.got.entry)};
    lock.unlock();
    return hold_of(std::move(got));
  }
  auto got = fetch_now(uri, *seen.back());
  settle(*seen.back(), got);
  if (!got.ok()) return std::move(got).error();
  return hold_of(std::move(*got));
}

void FolderModelMemory::settle(Fetching& fetching, const Result<Got>& got) {
  const std::string& uri = fetching.source.uri;
  const std::lock_guard lock(state_->mutex);
  state_->fetching.erase(uri);
  std::erase_if(state_->failures, [&](const Failure& failure) { return failure.uri == uri; });
  if (got.ok()) {
    fetching.got = *got;
  } else {
    fetching.error = got.error();
    if (got.error().code != "Fetch.Cancelled") state_->failures.push_back({uri, got.error().message});
    if (state_->failures.size() > kFailuresShownMax) state_->failures.pop_front();
    log::warn("model_fetch_failed error={}", got.error().message);
  }
  fetching.done = true;
  state_->changed.notify_all();
}

Result<Got> FolderModelMemory::fetch_now(const ModelUri& uri, Fetching& fetching) {
  const ModelSource& source = fetching.source;
  ASSIGN_OR_RETURN(const auto store, options_.open_store(uri));
  ASSIGN_OR_RETURN(const ModelPlan plan, plan_model(*store, uri, source.sha256, options_.fetch, fetching.state));
  {
    const std::lock_guard lock(state_->mutex);
    fetching.bytes = plan.bytes;
  }
  if (auto same = find_same(source, plan)) return *std::move(same);
  if (!options_.budget.take(plan.memory_bytes)) {
    return Error{ErrorKind::too_large, uri.text + ": the model's " + megabytes(plan.bytes) +
                                           " MB do not fit into the memory for models and environments "
                                           "(memory_max_mb)"};
  }
  {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait(lock, [&] { return state_->running < kFetchesAtOnceMax || fetching.state.stop; });
    ++state_->running;
  }
  auto brought = bring(uri, *store, plan, fetching);
  {
    const std::lock_guard lock(state_->mutex);
    --state_->running;
    state_->changed.notify_all();
  }
  if (!brought.ok()) options_.budget.give_back(plan.memory_bytes);
  return brought;
}

// What is in memory already and has not changed in the store.
std::optional<Got> FolderModelMemory::find_same(const ModelSource& source, const ModelPlan& plan) {
  if (plan.fingerprint.empty()) return std::nullopt;
  const std::lock_guard lock(state_->mutex);
  for (const auto& [id, entry] : state_->entries) {
    const ModelRecord& record = entry->record;
    if (entry->going || record.info.uri != source.uri || record.fingerprint != plan.fingerprint) continue;
    if (!source.sha256.empty() && record.sha256 != source.sha256) continue;
    if (!source.digest.empty() && record.info.digest != source.digest) continue;
    return Got{entry, hold(state_, entry)};
  }
  return std::nullopt;
}

Result<Got> FolderModelMemory::bring(const ModelUri& uri, ports::ObjectStore& store, const ModelPlan& plan,
                                     Fetching& fetching) {
  const std::string staging = new_staging();
  auto filled = fill(staging, uri, store, plan, fetching);
  // Published, it is not there any more.
  const Status removed = sys::remove_tree(staging);
  if (!removed.ok()) log::error("model_staging_not_removed error={}", removed.error().message);
  return filled;
}

// What an engine would say of a broken file only after it was started.
Status check_contents(const UniqueFd& files, const ModelPlan& plan) {
  for (const FileToFetch& file : plan.files) {
    if (!file.path.ends_with(".gguf")) continue;
    ASSIGN_OR_RETURN(const UniqueFd fd, sys::openat(files, file.path, O_RDONLY));
    auto info = model::read_gguf(fd);
    if (info.ok()) continue;
    info.error().message = file.path + " " + info.error().message;
    return std::move(info).error();
  }
  return {};
}

Result<Got> FolderModelMemory::fill(const std::string& staging, const ModelUri& uri, ports::ObjectStore& store,
                                    const ModelPlan& plan, Fetching& fetching) {
  const std::string files = staging + "/files";
  RETURN_IF_ERROR(sys::make_directories(files));
  for (const std::string& folder : {staging, files}) {
    // Whatever the process's umask is, environments pass here.
    if (::chmod(folder.c_str(), 0755) != 0) return sys::errno_error(folder);
  }
  ASSIGN_OR_RETURN(const UniqueFd folder, sys::open(files, O_RDONLY | O_DIRECTORY));
  ModelRecord record;
  ASSIGN_OR_RETURN(record.info.digest, fetch_files(store, plan.files, folder, options_.fetch, fetching.state));
  RETURN_IF_ERROR(check_contents(folder, plan));
  const ModelSource& source = fetching.source;
  if (!source.digest.empty() && source.digest != record.info.digest)
    return Error{ErrorKind::conflict, uri.text + ": the object is not the one of before: its contents have changed"};
  record.info.uri = source.uri;
  record.info.id = model_id(source.uri, record.info.digest);
  record.info.bytes = plan.bytes;
  record.fingerprint = plan.fingerprint;
  if (!uri.folder) {
    record.info.file = plan.files[0].path;
    record.info.etag = plan.files[0].object.etag;
    record.sha256 = plan.files[0].sha256;
  }
  record.fetch_took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - fetching.began);
  return publish(staging, std::move(record), plan.memory_bytes);
}

Result<Got> FolderModelMemory::publish(const std::string& staging, ModelRecord record, std::uint64_t memory_bytes) {
  RETURN_IF_ERROR(sys::write_file_atomically(staging + "/model.json", to_json(record), 0444));
  const std::string id = record.info.id;
  std::optional<Got> before;
  {
    std::unique_lock lock(state_->mutex);
    const auto at = [&] { return state_->entries.find(id); };
    // One that is just being removed still has the folder's name.
    state_->changed.wait(lock, [&] { return at() == state_->entries.end() || !at()->second->going; });
    if (at() != state_->entries.end()) {
      // The same contents under another ETag, or checked by another digest.
      before = Got{at()->second, hold(state_, at()->second)};
      before->entry->record = record;
    }
  }
  if (before) {
    options_.budget.give_back(memory_bytes);
    const Status noted = sys::write_file_atomically(place(id) + "/model.json", to_json(record), 0444);
    if (!noted.ok()) log::error("model_record_not_written id={} error={}", id, noted.error().message);
    return *std::move(before);
  }
  if (::rename(staging.c_str(), place(id).c_str()) != 0) return sys::errno_error(place(id));
  log::info("model_fetched id={} bytes={} ms={}", id, record.info.bytes, record.fetch_took.count());
  auto entry = std::make_shared<Entry>();
  entry->record = std::move(record);
  entry->memory_bytes = memory_bytes;
  const std::lock_guard lock(state_->mutex);
  state_->entries[id] = entry;
  return Got{entry, hold(state_, entry)};
}

std::vector<ModelView> FolderModelMemory::list() {
  const auto now = Clock::now();
  std::vector<ModelView> views;
  const std::lock_guard lock(state_->mutex);
  for (const auto& [id, entry] : state_->entries) {
    if (entry->going) continue;
    ModelView view;
    view.info = entry->record.info;
    view.fetched_bytes = view.info.bytes;
    view.holds = entry->holds;
    if (entry->holds == 0) view.unused = std::chrono::duration_cast<std::chrono::seconds>(now - entry->used_last);
    view.fetch_took = entry->record.fetch_took;
    views.push_back(std::move(view));
  }
  for (const auto& [uri, fetching] : state_->fetching) {
    ModelView view;
    view.info.uri = uri;
    view.info.bytes = fetching->bytes;
    view.state = ModelState::fetching;
    view.fetched_bytes = fetching->state.bytes;
    view.fetch_took = std::chrono::duration_cast<std::chrono::milliseconds>(now - fetching->began);
    views.push_back(std::move(view));
  }
  for (const Failure& failure : state_->failures) {
    ModelView view;
    view.info.uri = failure.uri;
    view.state = ModelState::failed;
    view.error = failure.error;
    views.push_back(std::move(view));
  }
  return views;
}

Status FolderModelMemory::remove(const std::string& uri_or_id) {
  std::vector<std::shared_ptr<Entry>> going;
  bool known = false;
  {
    const std::lock_guard lock(state_->mutex);
    known = std::erase_if(state_->failures, [&](const Failure& failure) { return failure.uri == uri_or_id; }) > 0;
    if (const auto at = state_->fetching.find(uri_or_id); at != state_->fetching.end()) {
      at->second->state.stop = true;
      state_->changed.notify_all();
      known = true;
    }
    for (const auto& [id, entry] : state_->entries) {
      if (entry->going || (id != uri_or_id && entry->record.info.uri != uri_or_id)) continue;
      if (entry->holds > 0) {
        return Error{ErrorKind::conflict,
                     "the model is in use by " + std::to_string(entry->holds) +
                         (entry->holds == 1 ? " environment or function" : " environments or functions")};
      }
      going.push_back(entry);
    }
    for (const auto& entry : going) entry->going = true;
  }
  for (const auto& entry : going) drop(entry);
  if (known || !going.empty()) return {};
  return Error{ErrorKind::not_found, "there is no model '" + uri_or_id.substr(0, 200) + "' in memory"};
}

// going is set. The memory is free once the files are gone: an environment that still maps one keeps its pages.
void FolderModelMemory::drop(const std::shared_ptr<Entry>& entry) {
  const std::string id = entry->record.info.id;
  const std::string staging = new_staging();
  if (::rename(place(id).c_str(), staging.c_str()) != 0)
    log::error("model_not_removed id={} error={}", id, sys::errno_error(place(id)).message);
  {
    const std::lock_guard lock(state_->mutex);
    state_->entries.erase(id);
    state_->changed.notify_all();
  }
  const Status removed = sys::remove_tree(staging);
  if (!removed.ok()) log::error("model_not_removed id={} error={}", id, removed.error().message);
  options_.budget.give_back(entry->memory_bytes);
  log::info("model_removed id={} bytes={}", id, entry->record.info.bytes);
}

// Under the mutex: the id's entry that nobody holds and that was used longest ago.
std::shared_ptr<Entry> oldest_of(const State& state) {
  std::shared_ptr<Entry> oldest;
  for (const auto& [id, entry] : state.entries) {
    if (entry->holds > 0 || entry->going) continue;
    if (oldest == nullptr || entry->used_last < oldest->used_last) oldest = entry;
  }
  return oldest;
}

std::optional<Clock::time_point> FolderModelMemory::oldest_unused() {
  const std::lock_guard lock(state_->mutex);
  const auto oldest = oldest_of(*state_);
  return oldest == nullptr ? std::nullopt : std::optional(oldest->used_last);
}

bool FolderModelMemory::drop_oldest_unused() {
  std::shared_ptr<Entry> oldest;
  {
    const std::lock_guard lock(state_->mutex);
    oldest = oldest_of(*state_);
    if (oldest == nullptr) return false;
    oldest->going = true;
  }
  drop(oldest);
  return true;
}

}  // namespace

Result<std::unique_ptr<ModelMemory>> open_model_memory(std::string folder, ModelMemoryOptions options) {
  auto memory = std::make_unique<FolderModelMemory>(std::move(folder), std::move(options));
  RETURN_IF_ERROR(memory->open());
  return std::unique_ptr<ModelMemory>(std::move(memory));
}

}  // namespace thaw::store
