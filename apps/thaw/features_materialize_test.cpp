#include "features/materialize_jobs.h"

#include <gmock/gmock.h>

#include "adapters/csv/csv_table.h"
#include "adapters/sqlite/online_store.h"
#include "adapters/sqlite/row_spool.h"
#include "base/folder_for_test.h"
#include "base/iso_time.h"
#include "base/timestamp.h"

namespace thaw::features {
namespace {

using testing::HasSubstr;

std::int64_t us(const char* text) { return *parse_iso_time_us(text); }

class MaterializeJobsTest : public testing::Test {
 protected:
  void SetUp() override {
    online_ = std::move(adapters::open_embedded_online_store(folder_.at("online.db"), {}).value());
    store_ = std::move(FeatureStore::open(*online_, folder_.at("registry.json")).value());
    define("rides", "rides.csv");
    open();
  }
  void define(const std::string& name, const std::string& file) {
    FeatureView view{.name = name,
                     .entities = {{"driver", {model::FeatureScalar::int64}}},
                     .features = {{"rate", {model::FeatureScalar::float64}}, {"city", {model::FeatureScalar::string}}}};
    view.source = Source{.path = file, .created_timestamp_field = "created", .field_mapping = {{"conv", "rate"}}};
    Definitions definitions;
    definitions.views.emplace(name, view);
    const auto applied = store_->apply(definitions, ApplyMode::keep_rows);
    ASSERT_TRUE(applied.ok()) << applied.error().message;
  }
  void open() {
    jobs_.reset();
    auto jobs = MaterializeJobs::open(
        *store_, {.file = folder_.at("materialized.json"),
                  .open_source =
                      [this](const Source& source, const ports::TableRequest& request) {
                        while (gate_) std::this_thread::yield();
                        return adapters::open_csv_table(folder_.at(source.path), request);
                      },
                  .make_spool =
                      [this](ports::SpoolKeeps keeps) {
                        return adapters::open_row_spool({.folder = folder_.at("spools"), .keeps = keeps});
                      }});
    ASSERT_TRUE(jobs.ok()) << jobs.error().message;
    jobs_ = std::move(*jobs);
  }
  void rows(const std::string& lines) {
    write_for_test(folder_.at("rides.csv"), "driver,event_timestamp,created,conv,city\n" + lines);
  }
  // The error of the job, or of its start.
  std::string run(const MaterializeRequest& request) {
    const auto id = jobs_->start(request);
    if (!id.ok()) return id.error().message;
    last_ = *id;
    const Status done = jobs_->wait(*id);
    return done.ok() ? "" : done.error().message;
  }
  MaterializeView progress() { return jobs_->find(last_).value().views.at(0); }
  // "rate city" of a driver, "-" when there is no row.
  std::string online(std::int64_t driver) {
    OnlineRequest request{.features = {"rides:rate", "rides:city"}};
    request.entities.push_back({"driver", {driver}});
    const auto answer = store_->get_online(request);
    if (!answer.ok()) return answer.error().message;
    if (answer->features[0].statuses[0] == FieldStatus::not_found) return "-";
    std::string text;
    for (const OnlineColumn& column : answer->features)
      text += (text.empty() ? "" : " ") + text_of_value(column.values[0], column.type).value_or("null");
    return text;
  }

  FolderForTest folder_;
  std::unique_ptr<ports::OnlineStore> online_;
  std::unique_ptr<FeatureStore> store_;
  std::atomic<bool> gate_{false};
  std::string last_;
  std::unique_ptr<MaterializeJobs> jobs_;
};

TEST_F(MaterializeJobsTest, TheLatestRowOfEachEntityWithinTheRangeIsWritten) {
  rows(
      "1,2026-01-01T00:00:00Z,2026-01-01,0.1,before\n"
      "1,2026-01-03T00:00:00Z,2026-01-03,0.3,last\n"
      "1,2026-01-02T00:00:00Z,2026-01-02,0.2,older\n"
      "2,2026-01-02T00:00:00Z,2026-01-05,0.5,created later\n"
      "2,2026-01-02T00:00:00Z,2026-01-04,0.4,created before\n"
      "3,2026-01-04T00:00:00Z,2026-01-04,0.4,at the end\n"
      "4,2025-12-31T23:59:59.999Z,2026-01-01,0.1,too early\n"
      "5,,2026-01-01,0.1,no time\n"
      ",2026-01-02,2026-01-01,0.1,no entity\n"
      "6,2026-01-02,,,\n");
  ASSERT_EQ(run({.start_us = us("2026-01-01"), .end_us = us("2026-01-04"), .views = {"rides"}}), "");
  EXPECT_EQ(online(1), "0.3 last");
  EXPECT_EQ(online(2), "0.5 created later");
  EXPECT_EQ(online(3), "-");
  EXPECT_EQ(online(4), "-");
  EXPECT_EQ(online(6), "null null");
  EXPECT_EQ(progress().rows_read, 10U);
  EXPECT_EQ(progress().rows_passed_over, 2U);
  EXPECT_EQ(progress().rows_written, 3U);
  EXPECT_EQ(jobs_->find(last_)->state, JobState::done);
}

TEST_F(MaterializeJobsTest, AnIncrementalOneBeginsWhereTheLastOneEnded) {
  rows("1,2026-01-01,2026-01-01,0.1,a\n");
  ASSERT_EQ(run({.start_us = us("2026-01-01"), .end_us = us("2026-01-02")}), "");
  open();  // the daemon started anew
  rows("1,2026-01-01T12:00:00Z,2026-01-01,0.2,late\n2,2026-01-02,2026-01-01,0.3,b\n");
  ASSERT_EQ(run({.end_us = us("2026-01-03")}), "");
  EXPECT_EQ(progress().range.from_us, us("2026-01-02"));
  EXPECT_EQ(online(1), "0.1 a");
  EXPECT_EQ(online(2), "0.3 b");
  ASSERT_EQ(run({.end_us = us("2026-01-01")}), "") << "there is nothing to do";
  EXPECT_EQ(progress().rows_written, 0U);
  ASSERT_TRUE(jobs_->forget("rides").ok());
  const std::int64_t year_ago_us = us(timestamp_now().substr(0, 19).c_str()) - 52LL * 7 * 86'400'000'000;
  ASSERT_EQ(run({.end_us = year_ago_us + 100'000'000}), "");
  EXPECT_NEAR(static_cast<double>(progress().range.from_us - year_ago_us), 0, 60e6);
}

TEST_F(MaterializeJobsTest, WhatIsWrongIsNamedAndNothingIsRemembered) {
  rows("1,2026-01-01,2026-01-01,0.1,a\n2,2026-01-01,2026-01-01,fast,b\n");
  EXPECT_THAT(run({.start_us = us("2026-01-01"), .end_us = us("2026-01-02")}),
              HasSubstr("feature view rides: row 2 of its source, column conv: \"fast\" is no number"));
  EXPECT_EQ(jobs_->find(last_)->state, JobState::failed);
  EXPECT_EQ(online(1), "-");
  EXPECT_THAT(run({.start_us = 2, .end_us = 1}), HasSubstr("must be after start_ts"));
  EXPECT_THAT(run({.end_us = 1, .views = {"nothing"}}), HasSubstr("there is no feature view \"nothing\""));
  write_for_test(folder_.at("rides.csv"), "driver,event_timestamp,created,city\n");
  EXPECT_THAT(run({.start_us = us("2026-01-01"), .end_us = us("2026-01-02")}), HasSubstr("no column conv"));
  define("rides", "none.csv");
  EXPECT_THAT(run({.start_us = us("2026-01-01"), .end_us = us("2026-01-02")}), HasSubstr("none.csv"));
  write_for_test(folder_.at("materialized.json"), "{");
  EXPECT_EQ(MaterializeJobs::open(*store_, {.file = folder_.at("materialized.json")}).error().kind, ErrorKind::corrupt);
}

TEST_F(MaterializeJobsTest, AViewIsMaterializedByOneJobAtATimeWhichCanBeCancelled) {
  rows("1,2026-01-01,2026-01-01,0.1,a\n");
  gate_ = true;
  const MaterializeRequest request{.start_us = us("2026-01-01"), .end_us = us("2026-01-02")};
  const auto id = jobs_->start(request);
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(jobs_->start(request).error().kind, ErrorKind::conflict);
  EXPECT_EQ(jobs_->find(*id)->state, JobState::running);
  ASSERT_TRUE(jobs_->cancel(*id).ok());
  gate_ = false;
  EXPECT_EQ(jobs_->wait(*id).error().kind, ErrorKind::conflict);
  EXPECT_EQ(jobs_->find(*id)->state, JobState::cancelled);
  EXPECT_EQ(online(1), "-");
  ASSERT_EQ(run(request), "");
  EXPECT_EQ(online(1), "0.1 a");
  EXPECT_EQ(jobs_->list().size(), 2U);
  EXPECT_EQ(jobs_->find("other").error().kind, ErrorKind::not_found);
}

}  // namespace
}  // namespace thaw::features
