#include "batch_run.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "batch_reader.h"
#include "bounded_queue.h"
#include "interrupt.h"

namespace thaw::cli {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLookEvery{100};
constexpr milliseconds kFlushEvery{2000};
// Of answers that are written together.
constexpr std::size_t kBytesAtOnce = 8 << 20;

// What the threads of a run share.
class Workshop {
 public:
  explicit Workshop(const BatchRun& run)
      : run_(run),
        reader_({run.source, run.finished, run.limit, run.concurrency}),
        outcomes_(run.concurrency),
        sending_(run.concurrency) {
    for (unsigned i = 0; i < run.concurrency; ++i) threads_.emplace_back([this] { send(); });
  }

  ~Workshop() {
    reader_.stop();
    outcomes_.discard();
    for (std::thread& thread : threads_) thread.join();
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;

  BoundedQueue<BatchOutcome>& outcomes() { return outcomes_; }
  std::uint64_t skipped() const { return reader_.skipped(); }
  std::uint64_t taken() const { return reader_.taken(); }
  std::string waits() const { return waits_.text(); }

  void stop(BatchStop::Level level) {
    stop_.request(level);
    reader_.stop();
  }

  // The first error ends the run.
  void fail(Error error) {
    {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::move(error);
    }
    stop(BatchStop::Level::begin_no_more);
  }

  std::optional<Error> error() const {
    const std::lock_guard lock(mutex_);
    return error_ ? error_ : reader_.error();
  }

 private:
  void send() {
    BatchInvoker invoker(run_.endpoint, run_.target, stop_, waits_);
    while (const std::optional<BatchItem> item = reader_.next()) {
      Result<BatchOutcome> outcome = invoker.invoke(*item);
      if (outcome.ok()) {
        if (!outcomes_.push(std::move(*outcome))) break;
      } else if (outcome.error().code != "Client.Interrupted") {
        fail(std::move(outcome).error());
      }
    }
    if (--sending_ == 0) outcomes_.finish();
  }

  const BatchRun& run_;
  BatchStop stop_;
  BatchWaits waits_;
  BatchReader reader_;
  BoundedQueue<BatchOutcome> outcomes_;
  std::atomic<unsigned> sending_;
  mutable std::mutex mutex_;
  std::optional<Error> error_;  // guarded by mutex_
  std::vector<std::thread> threads_;
};

// Ctrl-C: once, and once more.
class Interrupts {
 public:
  explicit Interrupts(const std::function<void()>& on_interrupt) : on_interrupt_(on_interrupt) {}

  void look(Workshop& workshop) {
    const int signal = InterruptGuard::signal_seen();
    if (signal == 0) return;
    InterruptGuard::clear();
    workshop.stop(signal_ == 0 ? BatchStop::Level::begin_no_more : BatchStop::Level::let_go);
    if (signal_ == 0 && on_interrupt_) on_interrupt_();
    signal_ = signal;
  }
  int signal() const { return signal_; }

 private:
  const std::function<void()>& on_interrupt_;
  int signal_ = 0;
};

using Take = BoundedQueue<BatchOutcome>::Take;

// Waits for one, and takes those that are there already along with it.
Take take_outcomes(Workshop& workshop, std::size_t count_max, std::vector<BatchOutcome>& into) {
  milliseconds wait = kLookEvery;
  for (std::size_t bytes = 0; into.size() < count_max && bytes < kBytesAtOnce;) {
    std::optional<BatchOutcome> outcome;
    const Take take = workshop.outcomes().pop_for(wait, outcome);
    if (take != Take::taken) return take;
    bytes += outcome->answer.size();
    into.push_back(std::move(*outcome));
    wait = milliseconds(0);
  }
  return Take::taken;
}

}  // namespace

BatchEnd run_batch_once(const BatchRun& run) {
  BatchEnd end;
  const Clock::time_point started = Clock::now();
  {
    Workshop workshop(run);
    Interrupts interrupts(run.on_interrupt);
    Clock::time_point flushed = started;
    for (Take take = Take::nothing_yet; take != Take::over;) {
      std::vector<BatchOutcome> outcomes;
      take = take_outcomes(workshop, run.output.at_once_max(), outcomes);
      if (Status written = outcomes.empty() ? Status() : run.output.write(outcomes); !written.ok()) {
        workshop.fail(std::move(written).error());
        workshop.stop(BatchStop::Level::let_go);
        interrupts.look(workshop);
        break;
      }
      for (const BatchOutcome& outcome : outcomes) ++(outcome.ok() ? end.counts.ok : end.counts.failed);
      if (Clock::now() - flushed > kFlushEvery) {
        flushed = Clock::now();
        if (Status kept = run.output.flush(); !kept.ok()) workshop.fail(std::move(kept).error());
      }
      interrupts.look(workshop);
      end.counts.skipped = workshop.skipped();
      end.counts.taken = workshop.taken();
      if (run.on_progress) run.on_progress(end.counts, workshop.waits());
    }
    if (Status kept = run.output.flush(); !kept.ok()) workshop.fail(std::move(kept).error());
    end.counts.skipped = workshop.skipped();
    end.signal = interrupts.signal();
    end.error = workshop.error();
  }
  end.took = std::chrono::duration_cast<milliseconds>(Clock::now() - started);
  return end;
}

}  // namespace thaw::cli
