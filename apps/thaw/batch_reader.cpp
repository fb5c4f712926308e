#include "batch_reader.h"

#include <chrono>

namespace thaw::cli {
namespace {

constexpr std::chrono::seconds kReadPatience{2};

}  // namespace

BatchReader::BatchReader(Inputs inputs)
    : state_(std::make_shared<State>(std::move(inputs))),
      ended_(state_->ended.get_future()),
      thread_([state = state_] { state->read(); }) {}

BatchReader::~BatchReader() {
  stop();
  if (ended_.wait_for(kReadPatience) == std::future_status::ready) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

void BatchReader::stop() {
  state_->stopped = true;
  state_->queue.discard();
}

std::optional<Error> BatchReader::error() const {
  const std::lock_guard lock(state_->mutex);
  return state_->error;
}

void BatchReader::State::read() {
  Status done = read_all();
  if (!done.ok()) {
    const std::lock_guard lock(mutex);
    error = std::move(done).error();
  }
  queue.finish();
  ended.set_value();
}

Status BatchReader::State::read_all() {
  while (!stopped && (!inputs.limit || taken < *inputs.limit)) {
    ASSIGN_OR_RETURN(std::optional<BatchItem> item, inputs.source->next());
    if (!item) break;
    ++taken;
    if (inputs.finished->contains(item->id)) {
      ++skipped;
    } else if (!queue.push(std::move(*item))) {
      break;
    }
  }
  return {};
}

}  // namespace thaw::cli
