// When the runs of a scheduled batch are due.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/schedule.h"

namespace thaw::cli {

// Times are seconds since 1970. Threads: one at a time.
class BatchTimetable {
 public:
  // A rate's first time is one period behind the start.
  BatchTimetable(model::Schedule schedule, std::int64_t start_s)
      : schedule_(std::move(schedule)), start_s_(start_s), next_s_(schedule_.next(start_s, start_s)) {}

  // Nothing when there are no more times.
  std::optional<std::int64_t> next_s() const { return next_s_; }

  // Whether a time has come since the last call. Several that have come together are one: a machine that slept does not
  // make up for all that it missed.
  bool take_due(std::int64_t now_s) {
    if (!next_s_ || now_s < *next_s_) return false;
    next_s_ = schedule_.next(now_s, start_s_);
    return true;
  }

 private:
  model::Schedule schedule_;
  std::int64_t start_s_;
  std::optional<std::int64_t> next_s_;
};

// "2026-01-31T12:00:00Z", and "20260131T120000Z" for file names.
std::string utc_text(std::int64_t time_s);
std::string utc_file_text(std::int64_t time_s);
// Each {time} in it replaced.
std::string with_time(std::string text, std::int64_t time_s);

}  // namespace thaw::cli
