#include "features/historical.h"

#include <gmock/gmock.h>

#include <random>
#include <sstream>

#include "adapters/csv/csv_table.h"
#include "adapters/sqlite/row_spool.h"
#include "base/folder_for_test.h"
#include "base/iso_time.h"

namespace thaw::features {
namespace {

using testing::HasSubstr;

class Historical : public testing::Test {
 protected:
  FeatureView rides(std::uint64_t ttl_s) {
    FeatureView view{.name = "rides",
                     .entities = {{"driver", {model::FeatureScalar::int64}}},
                     .ttl_s = ttl_s,
                     .features = {{"rate", {model::FeatureScalar::float64}}, {"city", {model::FeatureScalar::string}}}};
    view.source = Source{.path = "rides.csv", .created_timestamp_field = "created"};
    return view;
  }

  // The answer, or the error.
  std::string join(const FeatureView& view, const std::string& entities, bool full_feature_names = false) {
    write_for_test(folder_.at("entities.csv"), entities);
    const OpenSource open_source = [&](const Source& source, const ports::TableRequest& request) {
      return adapters::open_csv_table(folder_.at(source.path), request);
    };
    const ports::MakeRowSpool make_spool = [&](ports::SpoolKeeps keeps) {
      return adapters::open_row_spool({.folder = folder_.at("spools"), .keeps = keeps});
    };
    std::string answer;
    const Status done =
        write_historical({.views = {{view, {1, 0}}}, .full_feature_names = full_feature_names},
                         {.open_entities = [&] { return adapters::open_csv_table(folder_.at("entities.csv"), {}); },
                          .open_source = open_source,
                          .make_spool = make_spool,
                          .write =
                              [&](std::string_view part) {
                                answer += part;
                                return Status();
                              },
                          .cancelled = cancelled_});
    return done.ok() ? answer : done.error().message;
  }

  FolderForTest folder_;
  std::atomic<bool> cancelled_{false};
};

TEST_F(Historical, EachRowHasTheLatestValuesOfItsMoment) {
  write_for_test(folder_.at("rides.csv"),
                 "driver,event_timestamp,created,rate,city\n"
                 "1,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,0.1,Bern\n"
                 "1,2026-01-02T00:00:00Z,2026-01-02T00:00:00Z,0.2,\"Basel, CH\"\n"
                 "1,2026-01-02T00:00:00Z,2026-01-03T00:00:00Z,0.3,\n"
                 "2,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,0.9,Rom\n");
  EXPECT_EQ(join(rides(86400),
                 "label,driver,event_timestamp\n"
                 "a,1,2026-01-01T12:00:00+01:00\n"
                 "\"b,c\",1,2026-01-02 00:00:00\n"
                 "d,1,2026-01-01T23:59:59.999Z\n"
                 "e,1,2025-12-31T23:59:59Z\n"
                 "f,2,2026-01-02T00:00:00Z\n"
                 "g,2,2026-01-02T00:00:00.001Z\n"
                 "h,3,2026-01-02\n"
                 "i,,2026-01-02\n"),
            "label,driver,event_timestamp,city,rate\n"
            "a,1,2026-01-01T12:00:00+01:00,Bern,0.1\n"
            "\"b,c\",1,2026-01-02 00:00:00,,0.3\n"
            "d,1,2026-01-01T23:59:59.999Z,Bern,0.1\n"
            "e,1,2025-12-31T23:59:59Z,,\n"
            "f,2,2026-01-02T00:00:00Z,Rom,0.9\n"
            "g,2,2026-01-02T00:00:00.001Z,,\n"
            "h,3,2026-01-02,,\n"
            "i,,2026-01-02,,\n");
}

// By looking at every row of the source for every row of entities.
TEST_F(Historical, ItIsWhatABruteForceFinds) {
  struct Row {
    int driver;
    std::int64_t event_us;
    std::int64_t created_us;
  };
  std::mt19937 random(7);
  const std::int64_t begin_us = *parse_iso_time_us("2026-03-01");
  const auto number = [&](int max) { return static_cast<int>(random() % static_cast<unsigned>(max)); };
  std::vector<Row> rows;
  std::ostringstream source;
  source << "driver,event_timestamp,created,rate,city\n";
  for (int i = 0; i < 3000; ++i) {
    rows.push_back({number(20), begin_us + number(300) * 3'600'000'000LL, begin_us + number(3) * 1'000'000LL});
    source << rows[i].driver << ',' << format_iso_time_us(rows[i].event_us) << ','
           << format_iso_time_us(rows[i].created_us) << ',' << i << ",x\n";
  }
  write_for_test(folder_.at("rides.csv"), source.str());
  for (const std::int64_t ttl_s : {0, 7200, 400'000}) {
    std::ostringstream entities;
    std::ostringstream expected;
    entities << "driver,event_timestamp\n";
    expected << "driver,event_timestamp,rides__city,rides__rate\n";
    for (int i = 0; i < 500; ++i) {
      const int driver = number(25);
      const std::int64_t time_us = begin_us + number(320) * 3'600'000'000LL + number(2);
      int best = -1;
      for (int at = 0; at < static_cast<int>(rows.size()); ++at) {
        const Row& row = rows[static_cast<std::size_t>(at)];
        if (row.driver != driver || row.event_us > time_us) continue;
        if (ttl_s > 0 && row.event_us < time_us - ttl_s * 1'000'000) continue;
        const auto order = [&](int place) {
          const Row& one = rows[static_cast<std::size_t>(place)];
          return std::tuple(one.event_us, one.created_us, place);
        };
        if (best < 0 || order(at) > order(best)) best = at;
      }
      const std::string line = std::to_string(driver) + "," + format_iso_time_us(time_us);
      entities << line << "\n";
      expected << line << (best < 0 ? ",," : ",x," + std::to_string(best)) << "\n";
    }
    EXPECT_EQ(join(rides(static_cast<std::uint64_t>(ttl_s)), entities.str(), true), expected.str()) << ttl_s;
  }
}

TEST_F(Historical, WhatIsWrongIsNamedWithItsRow) {
  write_for_test(folder_.at("rides.csv"),
                 "driver,event_timestamp,created,rate,city\n1,2026-01-01,,1,\n1,2026-01-01,,fast,\n");
  const FeatureView view = rides(0);
  EXPECT_THAT(join(view, "driver\n1\n"), HasSubstr("no column event_timestamp"));
  EXPECT_THAT(join(view, "event_timestamp\n2026-01-01\n"), HasSubstr("no column driver"));
  EXPECT_THAT(join(view, "driver,event_timestamp\n1,2026-01-01\n1,soon\n"),
              HasSubstr("row 2 of the entities, column event_timestamp: \"soon\" is no time"));
  EXPECT_THAT(join(view, "driver,event_timestamp\nx,2026-01-01\n"), HasSubstr("row 1 of the entities, column driver"));
  EXPECT_THAT(join(view, "driver,event_timestamp\n1,\n"), HasSubstr("it is empty"));
  EXPECT_THAT(join(view, "driver,event_timestamp\n1,2026-01-01\n"),
              HasSubstr("feature view rides: row 2 of its source, column rate: \"fast\" is no number"));
  EXPECT_THAT(join(view, "driver,event_timestamp,city\n"), HasSubstr("two columns of the answer would be called city"));
  EXPECT_EQ(join(view, "driver,event_timestamp\n"), "driver,event_timestamp,city,rate\n");
  cancelled_ = true;
  EXPECT_THAT(join(view, "driver,event_timestamp\n1,2026-01-01\n"), HasSubstr("cancelled"));
}

}  // namespace
}  // namespace thaw::features
