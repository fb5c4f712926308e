#include "http/loop.h"

#include <pthread.h>
#include <time.h>

#include "http/message.h"

namespace thaw::http {

Loop::Loop(unsigned index) : index_(index), timer_(context_.get_executor()) {}

Loop::~Loop() { stop(); }

void Loop::start() {
  thread_ = std::thread([this] { context_.run(); });
  ::pthread_setname_np(thread_.native_handle(), ("loop-" + std::to_string(index_)).c_str());
}

void Loop::stop() {
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

void Loop::watch(Watched& watched) {
  watched.previous_ = nullptr;
  watched.next_ = first_;
  if (first_ != nullptr) first_->previous_ = &watched;
  first_ = &watched;
  if (!armed_) arm();
}

void Loop::unwatch(Watched& watched) {
  if (sweeping_ == &watched) sweeping_ = watched.next_;
  if (watched.next_ != nullptr) watched.next_->previous_ = watched.previous_;
  if (watched.previous_ != nullptr) {
    watched.previous_->next_ = watched.next_;
  } else if (first_ == &watched) {
    first_ = watched.next_;
  }
  watched.previous_ = watched.next_ = nullptr;
}

void Loop::arm() {
  armed_ = true;
  timer_.expires_after(kSweepEvery);
  timer_.async_wait([this](const boost::system::error_code& error) {
    armed_ = false;
    if (!error) sweep();
  });
}

void Loop::sweep() {
  const TimePoint now = std::chrono::steady_clock::now();
  for (Watched* watched = first_; watched != nullptr; watched = sweeping_) {
    sweeping_ = watched->next_;
    watched->on_sweep(now);
  }
  sweeping_ = nullptr;
  // With nothing to watch the loop sleeps until something happens: an idle daemon uses no CPU.
  if (first_ != nullptr && !armed_) arm();
}

const std::string& Loop::date() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec != date_second_) {
    date_second_ = now.tv_sec;
    date_ = http_date(now.tv_sec);
  }
  return date_;
}

Loops::Loops(unsigned count) {
  for (unsigned i = 0; i < count; ++i) loops_.push_back(std::make_unique<Loop>(i));
}

void Loops::start() {
  running_ = true;
  for (auto& loop : loops_) loop->start();
}

void Loops::stop() {
  running_ = false;
  for (auto& loop : loops_) loop->context().stop();
  for (auto& loop : loops_) loop->stop();
}

}  // namespace thaw::http
