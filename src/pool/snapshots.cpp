// What starts have to do with snapshots: the image that one begins with, and what follows when it cannot.

#include <cstdio>

#include "base/log.h"
#include "base/sys.h"
#include "pool/function_pool.h"

namespace thaw::pool {

// The image that the next environment is restored from; none: it starts by init. The one place that knows what a
// start needs of a snapshot.
std::shared_ptr<const snapshot::ImageMemory> FunctionPool::find_image(const Environment& environment) {
  {
    const std::lock_guard lock(mutex_);
    if (use_ == Use::making) return std::move(trial_image_);
    if (inits_owed_ > 0) {
      --inits_owed_;
      return nullptr;
    }
  }
  if (pool_.maker_ == nullptr) return nullptr;
  auto image = pool_.maker_->find_image(*record_);
  if (image.ok()) return std::move(image).value();
  note_restore_failed(environment, image.error());
  return nullptr;
}

// Whether the next start is most likely a restore.
bool FunctionPool::will_restore() {
  if (pool_.maker_ == nullptr) return false;
  {
    const std::lock_guard lock(mutex_);
    if (inits_owed_ > 0) return false;
  }
  return pool_.maker_->has_image(*record_);
}

void FunctionPool::note_restore_failed(const Environment& environment, const Error& error) {
  log::error("restore_failed function={} version={} id={} code={} error=\"{}\"", config().name, record_->version,
             environment.id, error.code, error.message);
  pool_.maker_->restore_failed(*record_, error);
  const auto took =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - environment.started_at);
  char line[160];
  std::snprintf(line, sizeof(line), "RESTORE_REPORT Restore Duration: %.2f ms\tStatus: error\tError Type: %s\n",
                static_cast<double>(took.count()) / 1000.0,
                error.code.empty() ? "Snapshot.RestoreFailed" : error.code.c_str());
  log_->append(line + ("[thaw] restore failed, starting by init: " + error.message + "\n"));
}

// Those that wait for the environment go on waiting, for one that starts by init in its place.
void FunctionPool::on_restore_failed(const std::shared_ptr<Environment>& environment, const Error& error,
                                     Started started) {
  note_restore_failed(*environment, error);
  {
    const std::lock_guard lock(mutex_);
    --starting_;
    ++inits_owed_;
    if (started == Started::yes && !environment->exit) destroy_locked(environment);
  }
  if (started == Started::no) forget(environment);
  --pool_.starting_;
  pump();
  pool_.pump_starved();
}

}  // namespace thaw::pool
