// Published versions and aliases in the catalog.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "control/catalog_for_test.h"
#include "control/sql_catalog.h"
#include "control/zip_for_test.h"

namespace thaw::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string package(const std::string& code) {
  return ZipForTest().file("thaw.toml", "command = [\"python3\", \"app.py\"]\n").file("app.py", code).bytes();
}

Result<model::FunctionRecord> deploy_to(Catalog& catalog, const std::string& name, const std::string& code) {
  const std::string path = catalog.new_upload_path();
  write_for_test(path, package(code));
  return catalog.deploy({.name = name, .package_path = path, .overrides = ""});
}

class VersionsTest : public CatalogForTest {
 protected:
  void deploy(const std::string& name, const std::string& code) {
    const auto record = deploy_to(*catalog_, name, code);
    ASSERT_TRUE(record.ok()) << record.error().message;
  }

  std::string publish(const std::string& name) {
    const auto version = catalog_->publish({.name = name});
    return version.ok() ? version->version : version.error().message;
  }

  std::vector<std::string> numbers(const std::string& name) const {
    std::vector<std::string> found;
    for (const auto& version : catalog_->versions(name)) found.push_back(version->version);
    return found;
  }

  // What the janitor does, it does soon.
  void expect_packages(std::size_t count) {
    for (int i = 0; i < 500 && count_in(data_.at("packages")) != count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(count_in(data_.at("packages")), count);
  }

  // Schema 1 had the table of functions alone.
  void make_schema_1() {
    catalog_.reset();
    soci::session session(soci::sqlite3, "db=\"" + data_.at("catalog.db") + "\"");
    for (const char* table : {"versions", "aliases", "version_numbers", "settings"}) session << "DROP TABLE " << table;
    session << "UPDATE schema_version SET version = 1";
  }

  // Schema 2 had no settings.
  void make_schema_2() {
    catalog_.reset();
    soci::session session(soci::sqlite3, "db=\"" + data_.at("catalog.db") + "\"");
    session << "DROP TABLE settings";
    session << "UPDATE schema_version SET version = 2";
  }
};

TEST_F(VersionsTest, VersionKeepsItsConfigurationAndPackageWhenTheFunctionIsReplaced) {
  deploy("Hello", "1");
  const auto first = catalog_->publish({.name = "hello", .description = "the first"});
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_EQ(first->version, "1");
  EXPECT_EQ(first->description, "the first");
  EXPECT_EQ(first->config, catalog_->find("hello")->config);
  EXPECT_NE(first->revision_id, catalog_->find("hello")->revision_id);
  deploy("HELLO", "2");
  EXPECT_EQ(publish("hello"), "2");
  expect_packages(2);
  reopen();
  expect_packages(2);
  ASSERT_NE(catalog_->find({"hello", "1"}, 0), nullptr);
  EXPECT_EQ(*catalog_->find({"hello", "1"}, 0), *first);
  EXPECT_EQ(catalog_->find({"hello", "2"}, 0)->code_sha256, catalog_->find("hello")->code_sha256);
  EXPECT_EQ(catalog_->find({"hello", "$LATEST"}, 0), catalog_->find("hello"));
  EXPECT_EQ(catalog_->find({"hello", "3"}, 0), nullptr);
  EXPECT_EQ(catalog_->find({"other", "1"}, 0), nullptr);
  EXPECT_TRUE(catalog_->hold_package(first->code_sha256).ok());
}

TEST_F(VersionsTest, UnchangedFunctionIsNotPublishedAgain) {
  deploy("a", "1");
  EXPECT_EQ(publish("a"), "1");
  EXPECT_EQ(publish("a"), "1");
  deploy("a", "1");
  EXPECT_EQ(publish("a"), "1");
  deploy("a", "2");
  EXPECT_EQ(publish("a"), "2");
  deploy("a", "1");
  EXPECT_EQ(publish("a"), "3");
}

TEST_F(VersionsTest, PreconditionsOfPublishingAreKept) {
  deploy("a", "1");
  const auto latest = catalog_->find("a");
  EXPECT_EQ(catalog_->publish({.name = "b"}).error().kind, ErrorKind::not_found);
  const auto other_code = catalog_->publish({.name = "a", .code_sha256 = std::string(64, '0')});
  EXPECT_EQ(other_code.error().kind, ErrorKind::invalid_argument);
  const auto other_revision = catalog_->publish({.name = "a", .revision_id = "other"});
  EXPECT_EQ(other_revision.error().kind, ErrorKind::conflict);
  EXPECT_EQ(other_revision.error().code, kPreconditionFailed);
  EXPECT_THAT(catalog_->publish({.name = "a", .description = std::string(257, 'x')}).error().message,
              HasSubstr("Description"));
  EXPECT_THAT(numbers("a"), IsEmpty());
  EXPECT_TRUE(
      catalog_->publish({.name = "a", .code_sha256 = latest->code_sha256, .revision_id = latest->revision_id}).ok());
}

TEST_F(VersionsTest, NumbersAreNeverGivenTwice) {
  deploy("a", "1");
  EXPECT_EQ(publish("a"), "1");
  deploy("a", "2");
  EXPECT_EQ(publish("a"), "2");
  ASSERT_TRUE(catalog_->remove_version("a", 2).ok());
  reopen();
  EXPECT_EQ(publish("a"), "3");
  ASSERT_TRUE(catalog_->remove("a").ok());
  EXPECT_EQ(catalog_->find({"a", "1"}, 0), nullptr);
  reopen();
  deploy("A", "4");
  EXPECT_EQ(publish("a"), "4");
  EXPECT_THAT(numbers("a"), ElementsAre("4"));
}

TEST_F(VersionsTest, PackageGoesWithTheLastVersionThatUsesIt) {
  deploy("a", "1");
  publish("a");
  deploy("b", "1");
  publish("b");
  deploy("a", "2");
  deploy("b", "2");
  expect_packages(2);
  ASSERT_TRUE(catalog_->remove_version("a", 1).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  expect_packages(2);
  ASSERT_TRUE(catalog_->remove_version("b", 1).ok());
  expect_packages(1);
  publish("a");
  ASSERT_TRUE(catalog_->remove("b").ok());
  ASSERT_TRUE(catalog_->remove("a").ok());
  expect_packages(0);
  EXPECT_EQ(catalog_->remove_version("a", 1).error().kind, ErrorKind::not_found);
}

TEST_F(VersionsTest, AliasesSurviveReopeningAndGuardTheirVersions) {
  deploy("a", "1");
  publish("a");
  deploy("a", "2");
  publish("a");
  const auto live = catalog_->create_alias(
      "A", {.name = "live", .function_version = "1", .additional = model::WeightedVersion{"2", 0.25}});
  ASSERT_TRUE(live.ok()) << live.error().message;
  reopen();
  EXPECT_THAT(catalog_->aliases("a"), ElementsAre(*live));
  EXPECT_EQ(catalog_->find({"a", "live"}, 0.1)->version, "2");
  EXPECT_EQ(catalog_->find({"a", "live"}, 0.25)->version, "1");
  EXPECT_EQ(catalog_->find({"a", "live"}, 1)->version, "1");
  EXPECT_EQ(catalog_->find({"a", "LIVE"}, 1), nullptr);
  for (const std::uint64_t number : {1, 2}) {
    EXPECT_EQ(catalog_->remove_version("a", number).error().kind, ErrorKind::conflict);
  }
  ASSERT_TRUE(catalog_->remove_alias({"a", "live"}).ok());
  EXPECT_EQ(catalog_->remove_alias({"a", "live"}).error().kind, ErrorKind::not_found);
  EXPECT_TRUE(catalog_->remove_version("a", 1).ok());
  reopen();
  EXPECT_THAT(catalog_->aliases("a"), IsEmpty());
  EXPECT_THAT(numbers("a"), ElementsAre("2"));
}

TEST_F(VersionsTest, AliasesAreChangedFieldByField) {
  deploy("a", "1");
  publish("a");
  EXPECT_EQ(catalog_->create_alias("b", {.name = "live", .function_version = "1"}).error().kind, ErrorKind::not_found);
  EXPECT_EQ(catalog_->create_alias("a", {.name = "live", .function_version = "2"}).error().kind, ErrorKind::not_found);
  const auto made = catalog_->create_alias("a", {.name = "live", .function_version = "1", .description = "now"});
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(catalog_->create_alias("a", {.name = "live", .function_version = "1"}).error().kind, ErrorKind::conflict);
  const auto latest = catalog_->update_alias("a", {.alias = "live", .function_version = "$LATEST"});
  ASSERT_TRUE(latest.ok()) << latest.error().message;
  EXPECT_EQ(latest->description, "now");
  EXPECT_EQ(catalog_->find({"a", "live"}, 0), catalog_->find("a"));
  const auto late =
      catalog_->update_alias("a", {.alias = "live", .revision_id = made->revision_id, .description = "late"});
  EXPECT_EQ(late.error().code, kPreconditionFailed);
  EXPECT_EQ(catalog_->update_alias("a", {.alias = "none"}).error().kind, ErrorKind::not_found);
  EXPECT_EQ(catalog_->update_alias("a", {.alias = "live", .additional = model::WeightedVersion{"1", 0.5}}).error().kind,
            ErrorKind::invalid_argument);
  EXPECT_EQ(catalog_->find_alias({"a", "live"}), *latest);
}

TEST_F(VersionsTest, CatalogOfSchema1IsBroughtToThePresentOne) {
  deploy("a", "1");
  const auto before = *catalog_->find("a");
  make_schema_1();
  reopen();
  ASSERT_NE(catalog_->find("a"), nullptr);
  EXPECT_EQ(*catalog_->find("a"), before);
  EXPECT_EQ(publish("a"), "1");
  reopen();
  EXPECT_THAT(numbers("a"), ElementsAre("1"));
}

TEST_F(VersionsTest, CatalogOfSchema2KeepsItsVersionsAndTakesSettings) {
  deploy("a", "1");
  EXPECT_EQ(publish("a"), "1");
  make_schema_2();
  reopen();
  EXPECT_THAT(numbers("a"), ElementsAre("1"));
  ASSERT_TRUE(catalog_->put_setting("a", {SettingKind::tags, "", "{}"}).ok());
  reopen();
  EXPECT_NE(catalog_->setting("a", SettingKind::tags, ""), nullptr);
}

TEST_F(VersionsTest, SettingsOfAQualifierGoWithItsVersionOrAlias) {
  deploy("a", "1");
  publish("a");
  ASSERT_TRUE(catalog_->create_alias("a", {.name = "live", .function_version = "$LATEST"}).ok());
  for (const char* qualifier : {"", "1", "live"}) {
    ASSERT_TRUE(catalog_->put_setting("a", {SettingKind::event_invoke, qualifier, "{}"}).ok());
    ASSERT_TRUE(catalog_->put_setting("a", {SettingKind::policy, qualifier, "{}"}).ok());
  }
  ASSERT_TRUE(catalog_->remove_alias({"a", "live"}).ok());
  ASSERT_TRUE(catalog_->remove_version("a", 1).ok());
  for (int times = 0; times < 2; ++times) {
    for (const auto kind : {SettingKind::event_invoke, SettingKind::policy}) {
      EXPECT_NE(catalog_->setting("a", kind, ""), nullptr);
      EXPECT_EQ(catalog_->setting("a", kind, "1"), nullptr);
      EXPECT_EQ(catalog_->setting("a", kind, "live"), nullptr);
    }
    reopen();
  }
}

TEST_F(VersionsTest, CatalogOfALaterSchemaIsRefused) {
  catalog_.reset();
  {
    soci::session session(soci::sqlite3, "db=\"" + data_.at("catalog.db") + "\"");
    session << "UPDATE schema_version SET version = 4";
  }
  const auto opened = Catalog::open(data_.path());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(opened.error().message, HasSubstr("schema version 4"));
}

TEST_F(VersionsTest, DamagedRowsAreReportedAsDamage) {
  deploy("a", "1");
  publish("a");
  for (const char* damage :
       {"UPDATE versions SET version = -1", "UPDATE versions SET config = '{}'",
        "UPDATE version_numbers SET last_version = -1", "INSERT INTO aliases VALUES ('a', 'live', 'x', '', '', 0, 'r')",
        "INSERT INTO settings VALUES ('a', 'unheard_of', '', '{}')"}) {
    const FolderForTest copy;
    catalog_.reset();
    std::filesystem::copy_file(data_.at("catalog.db"), copy.at("catalog.db"));
    {
      soci::session session(soci::sqlite3, "db=\"" + copy.at("catalog.db") + "\"");
      session << damage;
    }
    const auto opened = Catalog::open(copy.path());
    ASSERT_FALSE(opened.ok()) << damage;
    EXPECT_EQ(opened.error().kind, ErrorKind::corrupt) << damage;
  }
}

TEST_F(VersionsTest, KillAfterPublishingLeavesTheVersion) {
  deploy("a", "1");
  catalog_.reset();
  const pid_t child = ::fork();
  if (child == 0) {
    auto catalog = open_catalog(data_.path(), {.at_step = [](std::string_view at) {
                                  if (at == "published") ::kill(::getpid(), SIGKILL);
                                }});
    if (catalog.ok()) (void)(*catalog)->publish({.name = "a"});
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  reopen();
  EXPECT_THAT(numbers("a"), ElementsAre("1"));
  EXPECT_EQ(publish("a"), "1");
}

TEST_F(VersionsTest, PublishingAtOnceGivesEveryNumberOnce) {
  deploy("a", "0");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(deploy_to(*catalog_, "a", std::to_string(t * 100 + i)).ok());
        ASSERT_TRUE(catalog_->publish({.name = "a"}).ok());
        (void)catalog_->find({"a", "1"}, 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> found = numbers("a");
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], std::to_string(i + 1));
  reopen();
  EXPECT_EQ(numbers("a"), found);
}

}  // namespace
}  // namespace thaw::control
