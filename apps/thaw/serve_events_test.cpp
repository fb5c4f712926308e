// Events taken in by the queue that the configuration names.
#include "serve_events.h"

#include <gtest/gtest.h>

#include <atomic>

#include "base/folder_for_test.h"
#include "events/event_intake.h"

namespace thaw::cli {
namespace {

using events::EventIntake;

class EventIntakeTest : public testing::Test {
 protected:
  ports::EventQueue& open(std::uint64_t events_max) {
    ServeConfig config;
    config.events_max = events_max;
    auto opened = open_event_queue(config, folder_.path());
    if (!opened.ok()) std::abort();
    queue_ = std::move(*opened);
    return *queue_;
  }
  static ports::NewEvent event(int n) {
    return events::new_event("id" + std::to_string(n), {.function = "f", .function_arn = "arn", .payload = "{}"});
  }
  // What came of many that were submitted at once.
  struct Counts {
    std::atomic<int> ok{0};
    std::atomic<int> overloaded{0};
    std::atomic<int> other{0};
  };
  static void submit(EventIntake& intake, int n, Counts& counts) {
    intake.submit(event(n), [&counts](const Status& status) {
      if (status.ok()) {
        ++counts.ok;
      } else if (status.error().kind == ErrorKind::overloaded) {
        ++counts.overloaded;
      } else {
        ++counts.other;
      }
    });
  }

  FolderForTest folder_;
  std::unique_ptr<ports::EventQueue> queue_;
};

TEST_F(EventIntakeTest, EachIsAnsweredAndWhatWasAcceptedIsInTheQueue) {
  ports::EventQueue& queue = open(1000);
  Counts counts;
  {
    EventIntake intake(queue);
    for (int n = 0; n < 500; ++n) submit(intake, n, counts);
    intake.stop();
    EXPECT_EQ(intake.accepted(), 500U);
    submit(intake, 500, counts);
  }
  EXPECT_EQ(counts.ok, 500);
  EXPECT_EQ(counts.other, 1) << "none is taken after the stop";
  EXPECT_EQ(queue.counts()->events, 500U);
}

TEST_F(EventIntakeTest, AQueueThatBecomesFullTakesAsManyAsItHasRoomFor) {
  ports::EventQueue& queue = open(37);
  Counts counts;
  {
    EventIntake intake(queue);
    for (int n = 0; n < 100; ++n) submit(intake, n, counts);
  }
  EXPECT_EQ(counts.ok, 37);
  EXPECT_EQ(counts.overloaded, 63);
  EXPECT_EQ(queue.counts()->events, 37U);
}

TEST_F(EventIntakeTest, TooManyThatWaitAreRefused) {
  ports::EventQueue& queue = open(1000);
  Counts counts;
  EventIntake intake(queue, {.waiting_max = 0});
  submit(intake, 0, counts);
  EXPECT_EQ(counts.overloaded, 1);
}

}  // namespace
}  // namespace thaw::cli
