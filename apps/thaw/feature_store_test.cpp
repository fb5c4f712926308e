// The feature store over its embedded online store: here, because programs alone see both.
#include "features/feature_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/json/parse.hpp>
#include <chrono>
#include <thread>

#include "adapters/sqlite/online_store.h"
#include "base/folder_for_test.h"

namespace thaw::features {
namespace {

using model::FeatureValue;
using testing::HasSubstr;

constexpr std::string_view kStats =
    "[[feature_view]]\nname = \"stats\"\nttl_s = 3600\nentities = [{name = \"id\", type = \"Int64\"}]\n"
    "features = [{name = \"a\", type = \"Int64\"}, {name = \"b\", type = \"Array(Float32)\"}]\n"
    "[feature_view.vector]\nfeature = \"b\"\ndimensions = 2\n";

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

class FeatureStoreTest : public testing::Test {
 protected:
  void SetUp() override { open(); }

  void open() {
    store_.reset();
    online_.reset();
    auto online = adapters::open_embedded_online_store(folder_.at("online.db"), {});
    ASSERT_TRUE(online.ok()) << online.error().message;
    online_ = std::move(*online);
    auto store = FeatureStore::open(*online_, folder_.at("registry.json"));
    ASSERT_TRUE(store.ok()) << store.error().message;
    store_ = std::move(*store);
  }

  Status apply(std::string_view toml, ApplyMode mode = ApplyMode::keep_rows) {
    ASSIGN_OR_RETURN(const Definitions definitions, parse_definitions_toml(toml));
    const auto applied = store_->apply(definitions, mode);
    return applied.ok() ? Status() : Status(applied.error());
  }
  FeatureView view(const std::string& name) { return store_->definitions()->views.at(name); }
  static FeatureRow row(std::int64_t id, std::int64_t a, std::int64_t event_ms = now_ms()) {
    return {.entities = {id}, .values = {a, std::vector<double>{0.5, 1.5}}, .event_ms = event_ms};
  }
  Status write(const FeatureRow& one) { return store_->write_rows(view("stats"), std::vector{one}); }

  // "PRESENT 7", or the status alone.
  std::string read(std::int64_t id, const std::string& feature = "stats:a") {
    OnlineRequest request{.features = {feature}};
    request.entities.push_back({"id", boost::json::array{id}});
    const auto answer = store_->get_online(std::move(request));
    if (!answer.ok()) return answer.error().message;
    const auto json = boost::json::parse(to_json(*answer)).at("results").at(1);
    const auto& value = json.at("values").at(0);
    const std::string status(std::string_view(json.at("statuses").at(0).as_string()));
    return value.is_int64() ? status + " " + std::to_string(value.get_int64()) : status;
  }

  FolderForTest folder_;
  std::unique_ptr<ports::OnlineStore> online_;
  std::unique_ptr<FeatureStore> store_;
};

TEST_F(FeatureStoreTest, DefinitionsAndRowsOutliveTheProcess) {
  ASSERT_TRUE(apply(kStats).ok());
  ASSERT_TRUE(write(row(1, 7)).ok());
  open();
  EXPECT_EQ(read(1), "PRESENT 7");
  EXPECT_EQ(read(2), "NOT_FOUND");
}

TEST_F(FeatureStoreTest, ARowIsTooOldFromItsTimeToLiveOnAndGoesAWeekLater) {
  ASSERT_TRUE(apply(kStats).ok());
  const std::int64_t now = now_ms();
  ASSERT_TRUE(write(row(1, 7, now - 3'700'000)).ok());
  ASSERT_TRUE(write(row(2, 8, now - 3'500'000)).ok());
  EXPECT_EQ(read(1), "OUTSIDE_MAX_AGE");
  EXPECT_EQ(read(2), "PRESENT 8");
  const auto rows = online_->scan("stats", {}, 10);
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 2U);
  EXPECT_GE(rows->front().expires_ms, now + 3'600'000 + kKeptBehindTtlMs);
}

TEST_F(FeatureStoreTest, RowsThatDoNotFitTheViewAreRefusedByRowAndFeature) {
  ASSERT_TRUE(apply(kStats).ok());
  const auto error = [&](FeatureRow one) {
    const Status written = store_->write_rows(view("stats"), std::vector{row(1, 1), std::move(one)});
    return written.ok() ? std::string("(none)") : written.error().message;
  };
  FeatureRow other = row(2, 2);
  other.values[0] = std::string("x");
  EXPECT_THAT(error(other), HasSubstr("row 1: 'a': the value is not of type Int64"));
  other = row(2, 2);
  other.values[1] = std::vector<double>{1};
  EXPECT_THAT(error(other), HasSubstr("row 1: 'b': must have 2 numbers"));
  other = row(2, 2);
  other.entities[0] = std::string("x");
  EXPECT_THAT(error(other), HasSubstr("row 1: 'id' must be of type Int64"));
  other = row(2, 2);
  other.values.pop_back();
  EXPECT_THAT(error(other), HasSubstr("row 1: a row must have 2 values"));
  // All or none of a batch.
  EXPECT_EQ(read(1), "NOT_FOUND");
}

TEST_F(FeatureStoreTest, AWriteByADefinitionThatIsGoneIsRefused) {
  ASSERT_TRUE(apply(kStats).ok());
  const FeatureView before = view("stats");
  ASSERT_TRUE(apply("[[feature_view]]\nname = \"stats\"\nentities = [{name = \"id\", type = \"Int64\"}]\n"
                    "features = [{name = \"a\", type = \"Int64\"}]\n")
                  .ok());
  const Status written = store_->write_rows(before, std::vector{row(1, 1)});
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().kind, ErrorKind::conflict);
}

TEST_F(FeatureStoreTest, AViewThatIsNotOnlineTakesNoRows) {
  ASSERT_TRUE(apply("[[feature_view]]\nname = \"stats\"\nonline = false\nentities = [{name = \"id\", type = "
                    "\"Int64\"}]\nfeatures = [{name = \"a\", type = \"Int64\"}]\n")
                  .ok());
  const Status written =
      store_->write_rows(view("stats"), std::vector<FeatureRow>{{{std::int64_t{1}}, {FeatureValue()}}});
  EXPECT_THAT(written.error().message, HasSubstr("not online"));
  EXPECT_EQ(read(1), "NOT_FOUND");
}

TEST_F(FeatureStoreTest, AnApplyIsAllOrNothing) {
  ASSERT_TRUE(apply(kStats).ok());
  const auto before = *store_->definitions();
  const Status refused = apply(
      "[[feature_view]]\nname = \"other\"\nentities = [{name = \"id\", type = \"Int64\"}]\n"
      "features = [{name = \"a\", type = \"Int64\"}]\n"
      "[[feature_service]]\nname = \"s\"\nfeatures = [\"other:none\"]\n");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(*store_->definitions(), before);
  // A registry that cannot be written leaves what was there.
  std::filesystem::remove_all(folder_.at("registry.json"));
  std::filesystem::create_directory(folder_.at("registry.json"));
  EXPECT_FALSE(store_->remove_view("stats").ok());
  EXPECT_EQ(*store_->definitions(), before);
}

// Whatever order they come in, no row is left that its view cannot read.
TEST_F(FeatureStoreTest, DefinitionsChangeWhileRowsAreWrittenAndRead) {
  constexpr std::string_view kOther =
      "[[feature_view]]\nname = \"stats\"\nentities = [{name = \"id\", type = \"Int64\"}]\n"
      "features = [{name = \"a\", type = \"Int32\"}]\n";
  ASSERT_TRUE(apply(kStats).ok());
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        boost::json::object columns{{"id", boost::json::array{1}},
                                    {"a", boost::json::array{7}},
                                    {"b", boost::json::array{nullptr}},
                                    {"event_timestamp", boost::json::array{1.0}}};
        const auto written = store_->write_columns("stats", columns);
        if (!written.ok() && written.error().kind != ErrorKind::conflict) ++wrong;
      }
    });
    threads.emplace_back([&] {
      while (!done) {
        OnlineRequest request{.features = {"stats:a"}};
        request.entities.push_back({"id", boost::json::array{1}});
        if (!store_->get_online(std::move(request)).ok()) ++wrong;
      }
    });
  }
  for (int round = 0; round < 20; ++round)
    ASSERT_TRUE(apply(round % 2 == 0 ? kOther : kStats, ApplyMode::drop_rows).ok());
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace thaw::features
