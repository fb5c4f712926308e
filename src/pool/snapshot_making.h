// The making of one snapshot, from nothing to an image that a clone has answered from. Internal to src/pool.
//
//   an environment of its own, by init -> readiness -> warm-up requests -> before-snapshot hook -> freeze -> its end
//   -> a clone of the image -> after-restore hook -> readiness -> warm-up requests -> its end
//   -> the image again, its pages in the order in which the clone used them
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "pool/function_pool.h"

namespace thaw::pool {

enum class MakingStage : std::uint8_t { init, warm_up, hook, freeze, trial };

struct MakingFailure {
  MakingStage stage = MakingStage::init;
  Error error;
};

struct MakingOutcome {
  std::optional<MakingFailure> failure;
  UniqueFd image;                                       // has no name yet; valid without a failure
  std::shared_ptr<const snapshot::ImageMemory> memory;  // of the trial
  sandbox::Frozen frozen;
  std::chrono::microseconds init_took{0};
};

// Ownership: borrows folder, worker and loop. Threads: the loop's. Time: bounded by init_timeout_s, timeout_s
// for each warm-up request and 15 minutes for all of them, and the hooks' bounds.
class Making {
 public:
  // memory_folder: SnapshotLimits::memory_folder. at_step hears what is being done, in words, on the loop's thread.
  Making(std::shared_ptr<FunctionPool> workshop, const snapshot::SnapshotFolder& folder, std::string memory_folder,
         boost::asio::thread_pool& worker, http::Loop& loop, std::function<void(std::string)> at_step)
      : workshop_(std::move(workshop)),
        folder_(folder),
        memory_folder_(std::move(memory_folder)),
        worker_(worker),
        loop_(loop),
        at_step_(std::move(at_step)) {}

  http::Task<MakingOutcome> run();

 private:
  http::Task<std::optional<MakingFailure>> make(MakingOutcome& outcome);
  http::Task<std::optional<MakingFailure>> initialise(const std::shared_ptr<Environment>& environment,
                                                      MakingOutcome& outcome);
  http::Task<std::optional<MakingFailure>> freeze(const std::shared_ptr<Environment>& environment,
                                                  MakingOutcome& outcome);
  http::Task<Status> try_image(MakingOutcome& outcome);
  http::Task<> order_pages(MakingOutcome& outcome);
  http::Task<Status> answer_as_clone(const std::shared_ptr<Environment>& clone);
  http::Task<Status> warm_up(const std::shared_ptr<Environment>& environment,
                             std::vector<model::WarmUpRequest> requests, const std::string& step);
  http::Task<Status> before_snapshot(const std::shared_ptr<Environment>& environment);

  const std::shared_ptr<FunctionPool> workshop_;
  const snapshot::SnapshotFolder& folder_;
  const std::string memory_folder_;
  boost::asio::thread_pool& worker_;  // reads and writes images
  http::Loop& loop_;
  const std::function<void(std::string)> at_step_;
};

}  // namespace thaw::pool
