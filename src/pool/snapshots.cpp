// How a version gets its snapshot, and what happens when a restore fails.

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>

#include "base/log.h"
#include "base/sys.h"
#include "pool/function_pool.h"
#include "snapshot/image_memory.h"

namespace thaw::pool {

bool FunctionPool::wants_snapshot() const {
  return pool_.snapshots_ != nullptr && config().snapshot && record_->version != model::kLatestVersion;
}

// Before the environment is lent to anybody: every clone begins where this one is now. The function serves whether it
// succeeds or not.
http::Task<> FunctionPool::make_snapshot(std::shared_ptr<Environment> environment, http::Loop& loop) {
  if (!wants_snapshot() || environment->restored || snapshot_tried_.exchange(true)) co_return;
  auto file = pool_.snapshots_->create();
  auto copy = file.ok() ? sys::duplicate(*file) : Result<UniqueFd>(file.error());
  if (!copy.ok()) {
    log::error("snapshot_failed function={} version={} error=\"{}\"", config().name, record_->version,
               copy.error().message);
    co_return;
  }
  auto outcome = std::make_shared<std::optional<Result<sandbox::Frozen>>>();
  const auto executor = loop.executor();
  const auto initiate = [&](auto handler) {
    auto resume = std::make_shared<decltype(handler)>(std::move(handler));
    pool_.host_.freeze(environment->id, std::move(*copy), false,
                       [outcome, executor, resume](Result<sandbox::Frozen> frozen) {
                         boost::asio::post(executor, [outcome, resume, held = std::move(frozen)]() mutable {
                           outcome->emplace(std::move(held));
                           std::move (*resume)();
                         });
                       });
  };
  co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<http::Executor>, void()>(initiate,
                                                                                                   http::use_task);
  Status status = (*outcome)->ok() ? pool_.snapshots_->publish(*file, revision_id()) : Status((*outcome)->error());
  if (!status.ok()) {
    log::warn("snapshot_failed function={} version={} error=\"{}\"", config().name, record_->version,
              status.error().message);
    log_->append("[thaw] no snapshot, so this version starts by init: " + status.error().message + "\n");
    co_return;
  }
  const sandbox::Frozen& frozen = ***outcome;
  log::info("snapshot_made function={} version={} bytes={} threads={} held_ms={:.1f}", config().name, record_->version,
            frozen.file_bytes, frozen.threads, static_cast<double>(frozen.held.count()) / 1000.0);
}

void FunctionPool::remove_snapshot() {
  if (!wants_snapshot()) return;
  pool_.snapshots_->remove(revision_id());
  pool_.images_.forget(revision_id());
}

// The image of a version in memory, when there is one.
std::shared_ptr<const snapshot::ImageMemory> FunctionPool::find_image() {
  if (!wants_snapshot()) return nullptr;
  auto image = pool_.images_.get(revision_id(), [this]() -> Result<snapshot::ImageMemory> {
    ASSIGN_OR_RETURN(const UniqueFd file, pool_.snapshots_->find(revision_id()));
    return snapshot::load_image(file);
  });
  if (image.ok()) return *image;
  if (image.error().kind != ErrorKind::not_found) {
    log::error("snapshot_removed function={} version={} error=\"{}\"", config().name, record_->version,
               image.error().message);
    remove_snapshot();
  }
  return nullptr;
}

// The same request goes on with an init. The snapshot is not tried again: what failed once would fail each time.
void FunctionPool::start_by_init_instead(std::shared_ptr<Environment> environment, const Error& error) {
  log::error("restore_failed function={} version={} id={} error=\"{}\"", config().name, record_->version,
             environment->id, error.message);
  log_->append("[thaw] restore failed, starting by init: " + error.message + "\n");
  remove_snapshot();
  {
    const std::lock_guard lock(pool_.mutex_);
    pool_.by_id_.erase(environment->id);
    environment->id = pool_.next_id_++;
    pool_.by_id_[environment->id] = weak_from_this();
  }
  environment->restored = false;
  snapshot_tried_ = false;
  boost::asio::post(pool_.starters_, [self = shared_from_this(), environment] { self->start_on_thread(environment); });
}

}  // namespace thaw::pool
