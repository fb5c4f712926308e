#include "pool/snapshot_making.h"

#include <algorithm>

#include <boost/asio/basic_waitable_timer.hpp>

#include "base/log.h"
#include "base/sys.h"
#include "http/off_loop.h"
#include "snapshot/image_order.h"
#include "snapshot/working_set.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::pool {

using Clock = std::chrono::steady_clock;
using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, http::Executor>;
using namespace std::chrono_literals;

namespace {

// The pager hands what it has learned in soon after the clone has ended.
constexpr auto kLessonLookEvery = 10ms;
constexpr auto kLessonWaitMax = 2000ms;
// Of one environment that makes calls by itself, in between which the freeze has to come.
constexpr int kFreezeTries = 3;

// One for each slot, so that every one has the system prompt in its part of the KV cache.
std::vector<model::WarmUpRequest> llama_warm_up(const model::FunctionConfig& config) {
  std::vector<model::WarmUpRequest> requests;
  const std::size_t count = std::min<std::size_t>(config.concurrency, model::kWarmUpRequestsMax);
  for (std::size_t slot = 0; slot < count; ++slot) {
    model::WarmUpRequest& request = requests.emplace_back();
    request.method = "POST";
    const std::string of_slot = "\"id_slot\": " + std::to_string(slot);
    request.path = config.resolved.embeds ? "/v1/embeddings" : "/v1/chat/completions";
    request.body = config.resolved.embeds
                       ? "{\"input\": \"Hello\", " + of_slot + "}"
                       : "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}], \"max_tokens\": 1, "
                         "\"cache_prompt\": true, " +
                             of_slot + "}";
  }
  return requests;
}

// Those of the manifest; an engine's own where it has none.
std::vector<model::WarmUpRequest> warm_up_requests(const model::FunctionConfig& config) {
  if (!config.warm_up.empty()) return config.warm_up;
  if (config.engine == "llama-server") return llama_warm_up(config);
  if (config.engine != "thaw-onnx") return {};
  // What the model is asked is the engine's own affair: it knows the task, which only the model's config.json may say.
  model::WarmUpRequest once;
  once.method = "POST";
  once.path = "/warm-up";
  return {once};
}

}  // namespace

// From the start of an environment to the end of its last warm-up request: two makings that take for ever would keep
// all others waiting. Lambda's bound ("Improving startup performance with Lambda SnapStart", AWS Lambda Developer
// Guide).
constexpr std::chrono::minutes kWarmUpMax{15};

http::Task<MakingOutcome> Making::run() {
  MakingOutcome outcome;
  auto failure = co_await make(outcome);
  if (!failure) {
    if (const Status tried = co_await try_image(outcome); !tried.ok())
      failure.emplace(MakingFailure{MakingStage::trial, tried.error()});
  }
  if (!failure) co_await order_pages(outcome);
  if (failure) outcome.image.reset();
  outcome.failure = std::move(failure);
  co_return outcome;
}

http::Task<std::optional<MakingFailure>> Making::make(MakingOutcome& outcome) {
  at_step_("init");
  auto started = co_await workshop_->start_apart(loop_, nullptr);
  if (!started.ok()) co_return MakingFailure{MakingStage::init, started.error()};
  const std::shared_ptr<Environment> environment = *started;
  auto failure = co_await initialise(environment, outcome);
  if (!failure) failure = co_await freeze(environment, outcome);
  co_await workshop_->end_apart(environment, loop_);
  co_return failure;
}

http::Task<std::optional<MakingFailure>> Making::initialise(const std::shared_ptr<Environment>& environment,
                                                            MakingOutcome& outcome) {
  if (const Status ready = co_await workshop_->wait_until_ready(environment, loop_); !ready.ok())
    co_return MakingFailure{MakingStage::init, ready.error()};
  if (const Status warm = co_await warm_up(environment, warm_up_requests(workshop_->config()), "warm-up"); !warm.ok())
    co_return MakingFailure{MakingStage::warm_up, warm.error()};
  if (const Status told = co_await before_snapshot(environment); !told.ok())
    co_return MakingFailure{MakingStage::hook, told.error()};
  outcome.init_took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - environment->started_at);
  co_return std::nullopt;
}

http::Task<std::optional<MakingFailure>> Making::freeze(const std::shared_ptr<Environment>& environment,
                                                        MakingOutcome& outcome) {
  at_step_("freeze");
  for (int tries_left = kFreezeTries - 1;; --tries_left) {
    auto file = folder_.create();
    auto copy = file.ok() ? sys::duplicate(*file) : Result<UniqueFd>(file.error());
    if (!copy.ok()) co_return MakingFailure{MakingStage::freeze, copy.error()};
    const auto frozen = co_await workshop_->write_image(environment, loop_, std::move(*copy));
    if (!frozen.ok() && frozen.error().code == FunctionPool::kCalledMeanwhile && tries_left > 0) continue;
    if (!frozen.ok()) co_return MakingFailure{MakingStage::freeze, frozen.error()};
    outcome.frozen = *frozen;
    outcome.image = std::move(*file);
    co_return std::nullopt;
  }
}

http::Task<Status> Making::try_image(MakingOutcome& outcome) {
  at_step_("trial restore");
  auto loaded = co_await http::off_loop(worker_, loop_, [&] {
    return snapshot::load_image(outcome.image, {.rest_failed = {}, .folder = memory_folder_});
  });
  if (!loaded.ok()) co_return loaded.error();
  outcome.memory = std::make_shared<const snapshot::ImageMemory>(std::move(loaded).value());
  auto started = co_await workshop_->start_apart(loop_, outcome.memory);
  if (!started.ok()) co_return started.error();
  const std::shared_ptr<Environment> clone = *started;
  const Status answered = co_await answer_as_clone(clone);
  co_await workshop_->end_apart(clone, loop_);
  co_return answered;
}

// Without it the image is as good, but slower from a cold disk.
http::Task<> Making::order_pages(MakingOutcome& outcome) {
  at_step_("ordering pages");
  snapshot::WorkingSet set;
  for (auto waited = 0ms; set.lessons == 0 && waited < kLessonWaitMax; waited += kLessonLookEvery) {
    Timer timer(loop_.executor(), kLessonLookEvery);
    co_await timer.async_wait(http::use_task);
    set = snapshot::read_working_set(outcome.memory->working_set);
  }
  auto file = folder_.create();
  Status ordered = file.ok() ? Status() : Status(file.error());
  if (ordered.ok())
    ordered = co_await http::off_loop(worker_, loop_, [&] { return snapshot::order_image(outcome.image, set, *file); });
  if (ordered.ok()) {
    outcome.image = std::move(*file);
  } else {
    log::warn("snapshot_not_ordered function={} error=\"{}\"", workshop_->config().name, ordered.error().message);
  }
}

http::Task<Status> Making::answer_as_clone(const std::shared_ptr<Environment>& clone) {
  if (Status told = co_await workshop_->after_restore(clone, loop_); !told.ok()) co_return told;
  if (Status ready = co_await workshop_->wait_until_ready(clone, loop_); !ready.ok()) co_return ready;
  // What an engine is asked once for each of its slots, a client asks once: the clone's working set is to be that of
  // one.
  std::vector<model::WarmUpRequest> requests = warm_up_requests(workshop_->config());
  if (workshop_->config().warm_up.empty() && requests.size() > 1) requests.erase(requests.begin(), requests.end() - 1);
  co_return co_await warm_up(clone, std::move(requests), "trial restore, warm-up");
}

http::Task<Status> Making::warm_up(const std::shared_ptr<Environment>& environment,
                                   std::vector<model::WarmUpRequest> requests, const std::string& step) {
  const model::FunctionConfig& config = workshop_->config();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const model::WarmUpRequest& request = requests[i];
    at_step_(step + " request " + std::to_string(i + 1) + " of " + std::to_string(requests.size()));
    FunctionPool::Ask ask;
    ask.method = request.method;
    ask.path = request.path;
    ask.body = request.body;
    ask.content_type = request.content_type;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(environment->started_at + kWarmUpMax - Clock::now());
    if (left.count() <= 0) {
      co_return Error(ErrorKind::function_failed, "init and warm-up take longer than 15 minutes",
                      "Snapshot.WarmUpFailed");
    }
    ask.wait_max = std::min<std::chrono::milliseconds>(std::chrono::seconds(config.timeout_s), left);
    ask.close_wait_max = FunctionPool::kCloseWaitMax;
    const auto answer = co_await workshop_->ask(environment, loop_, std::move(ask));
    if (answer.ok() && *answer < 400) continue;
    const std::string why = answer.ok() ? "status " + std::to_string(*answer) : answer.error().message;
    const ErrorKind kind = answer.ok() ? ErrorKind::function_failed : answer.error().kind;
    co_return Error(kind, "warm_up[" + std::to_string(i) + "], " + request.method + " " + request.path + ": " + why,
                    "Snapshot.WarmUpFailed");
  }
  co_return Status();
}

http::Task<Status> Making::before_snapshot(const std::shared_ptr<Environment>& environment) {
  const model::FunctionConfig& config = workshop_->config();
  if (config.before_snapshot_path.empty()) co_return Status();
  at_step_("before-snapshot hook");
  FunctionPool::Ask ask;
  ask.method = "POST";
  ask.path = config.before_snapshot_path;
  ask.wait_max = std::chrono::seconds(config.init_timeout_s);
  ask.close_wait_max = FunctionPool::kCloseWaitMax;
  const auto answer = co_await workshop_->ask(environment, loop_, std::move(ask));
  if (answer.ok() && *answer < 300) co_return Status();
  const std::string why = answer.ok() ? "status " + std::to_string(*answer) : answer.error().message;
  const ErrorKind kind = answer.ok() ? ErrorKind::function_failed : answer.error().kind;
  co_return Error(kind, "the before-snapshot hook, POST " + config.before_snapshot_path + ": " + why,
                  "Snapshot.BeforeSnapshotFailed");
}

}  // namespace thaw::pool
