#include "control/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
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

constexpr char kManifest[] = "command = [\"python3\", \"app.py\"]\nmemory_mb = 256\n";

std::string package(const std::string& code) {
  return ZipForTest().file("thaw.toml", kManifest).file("app.py", code).bytes();
}

class CatalogTest : public CatalogForTest {
 protected:
  Result<model::FunctionRecord> deploy(const std::string& name, const std::string& zip,
                                       const std::string& overrides = "") {
    const std::string path = catalog_->new_upload_path();
    write_for_test(path, zip);
    auto record = catalog_->deploy({.name = name, .package_path = path, .overrides = overrides});
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_EQ(count_in(data_.at("uploads")), 0U);
    if (!record) {
      EXPECT_EQ(count_in(data_.at("staging")), 0U);
    }
    return record;
  }

  std::string error_of(const std::string& name, const std::string& zip, const std::string& overrides = "") {
    auto record = deploy(name, zip, overrides);
    return record.ok() ? "no error" : record.error().message;
  }

  // What the janitor does, it does soon.
  void expect_packages(std::size_t count) {
    for (int i = 0; i < 500 && count_in(data_.at("packages")) != count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(count_in(data_.at("packages")), count);
  }
};

TEST_F(CatalogTest, SettingsOutliveReopeningAndDeploysAndGoWithTheFunction) {
  EXPECT_EQ(catalog_->put_setting("hello", {SettingKind::tags, "", "{}"}).error().kind, ErrorKind::not_found);
  ASSERT_TRUE(deploy("Hello", package("print(1)")).ok());
  ASSERT_TRUE(catalog_->put_setting("hello", {SettingKind::function_url, "live", "{\"AuthType\":\"NONE\"}"}).ok());
  ASSERT_TRUE(catalog_->put_setting("hello", {SettingKind::function_url, "", "{}"}).ok());
  ASSERT_TRUE(catalog_->put_setting("hello", {SettingKind::function_url, "", "{\"a\":1}"}).ok());
  ASSERT_TRUE(catalog_->put_setting("hello", {SettingKind::tags, "", "{}"}).ok());
  ASSERT_TRUE(deploy("Hello", package("print(2)")).ok());
  reopen();
  EXPECT_THAT(catalog_->settings("HELLO", SettingKind::function_url),
              ElementsAre(Setting{SettingKind::function_url, "", "{\"a\":1}"},
                          Setting{SettingKind::function_url, "live", "{\"AuthType\":\"NONE\"}"}));
  EXPECT_EQ(catalog_->setting("hello", SettingKind::function_url, "LIVE"), nullptr);
  ASSERT_TRUE(catalog_->remove_setting("hello", SettingKind::function_url, "live").ok());
  EXPECT_EQ(catalog_->remove_setting("hello", SettingKind::function_url, "live").error().kind, ErrorKind::not_found);
  reopen();
  EXPECT_EQ(catalog_->setting("hello", SettingKind::function_url, "live"), nullptr);
  ASSERT_NE(catalog_->setting("hello", SettingKind::tags, ""), nullptr);
  ASSERT_TRUE(catalog_->remove("hello").ok());
  ASSERT_TRUE(deploy("Hello", package("print(1)")).ok());
  EXPECT_EQ(catalog_->setting("hello", SettingKind::tags, ""), nullptr);
  reopen();
  EXPECT_EQ(catalog_->setting("hello", SettingKind::tags, ""), nullptr);
}

TEST_F(CatalogTest, EditsOfASettingSeeItAsItIsAndAnErrorOfTheirsLeavesIt) {
  const auto append = [](const std::string* before) -> Result<std::string> {
    return (before == nullptr ? std::string() : *before) + "x";
  };
  EXPECT_EQ(catalog_->edit_setting("a", SettingKind::tags, "", append).error().kind, ErrorKind::not_found);
  ASSERT_TRUE(deploy("a", package("print(1)")).ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) ASSERT_TRUE(catalog_->edit_setting("a", SettingKind::tags, "", append).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*catalog_->setting("a", SettingKind::tags, ""), std::string(20, 'x'));
  const auto refuse = [](const std::string*) -> Result<std::string> { return invalid_argument("no"); };
  EXPECT_EQ(catalog_->edit_setting("a", SettingKind::tags, "", refuse).error().message, "no");
  reopen();
  EXPECT_EQ(*catalog_->setting("a", SettingKind::tags, ""), std::string(20, 'x'));
}

TEST_F(CatalogTest, SettingsAreBounded) {
  ASSERT_TRUE(deploy("a", package("print(1)")).ok());
  EXPECT_EQ(catalog_->put_setting("a", {SettingKind::policy, "", std::string(kSettingBytesMax + 1, ' ')}).error().kind,
            ErrorKind::too_large);
  EXPECT_TRUE(catalog_->put_setting("a", {SettingKind::policy, "", std::string(kSettingBytesMax, ' ')}).ok());
}

TEST_F(CatalogTest, DeployedFunctionIsFoundWithoutRegardToCaseAndSurvivesReopening) {
  const auto record = deploy("Hello", package("print(1)"));
  ASSERT_TRUE(record.ok()) << record.error().message;
  EXPECT_EQ(record->config.name, "Hello");
  EXPECT_EQ(record->config.memory_mb, 256U);
  EXPECT_EQ(record->code_sha256.size(), 64U);
  EXPECT_THAT(record->last_modified, ::testing::MatchesRegex("....-..-..T..:..:..\\....\\+0000"));
  reopen();
  const auto found = catalog_->find("hELLO");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(*found, *record);
  EXPECT_EQ(catalog_->find("other"), nullptr);
  auto hold = catalog_->hold_package(found->code_sha256);
  ASSERT_TRUE(hold.ok()) << hold.error().message;
  EXPECT_EQ(read_for_test("/proc/self/fd/" + std::to_string(hold->folder.get()) + "/app.py"), "print(1)");
}

TEST_F(CatalogTest, DeployReplacesUnderAnotherCaseAndRemovesTheOldPackage) {
  ASSERT_TRUE(deploy("hello", package("1")).ok());
  const auto second = deploy("HELLO", package("2"));
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(catalog_->count(), 1U);
  EXPECT_EQ(catalog_->find("hello")->config.name, "HELLO");
  expect_packages(1);
}

TEST_F(CatalogTest, SameContentIsKeptOnceUntilItsLastFunctionGoes) {
  ASSERT_TRUE(deploy("a", package("same")).ok());
  ASSERT_TRUE(deploy("b", package("same")).ok());
  EXPECT_EQ(catalog_->find("a")->code_sha256, catalog_->find("b")->code_sha256);
  EXPECT_NE(catalog_->find("a")->revision_id, catalog_->find("b")->revision_id);
  ASSERT_TRUE(catalog_->remove("a").ok());
  ASSERT_TRUE(deploy("c", package("other")).ok());
  expect_packages(2);
  ASSERT_TRUE(catalog_->hold_package(catalog_->find("b")->code_sha256).ok());
  ASSERT_TRUE(catalog_->remove("b").ok());
  expect_packages(1);
  EXPECT_EQ(catalog_->remove("b").error().kind, ErrorKind::not_found);
}

TEST_F(CatalogTest, HeldPackageStaysUntilTheHoldIsDropped) {
  ASSERT_TRUE(deploy("a", package("1")).ok());
  auto hold = catalog_->hold_package(catalog_->find("a")->code_sha256);
  ASSERT_TRUE(hold.ok());
  ASSERT_TRUE(catalog_->remove("a").ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(count_in(data_.at("packages")), 1U);
  hold->hold.reset();
  expect_packages(0);
}

TEST_F(CatalogTest, HoldMayOutliveTheCatalog) {
  ASSERT_TRUE(deploy("a", package("1")).ok());
  auto hold = catalog_->hold_package(catalog_->find("a")->code_sha256);
  ASSERT_TRUE(hold.ok());
  catalog_.reset();
  hold->hold.reset();
  reopen();
  EXPECT_NE(catalog_->find("a"), nullptr);
}

TEST_F(CatalogTest, ListPagesByNameWithoutRegardToCase) {
  for (const char* name : {"delta", "Alpha", "charlie", "Bravo"}) ASSERT_TRUE(deploy(name, package("x")).ok());
  std::vector<std::string> names;
  std::string marker;
  int pages = 0;
  do {
    const auto page = catalog_->list(marker, 3);
    ASSERT_TRUE(page.ok());
    for (const auto& function : page->functions) names.push_back(function.config.name);
    marker = page->next_marker;
    ++pages;
  } while (!marker.empty());
  EXPECT_EQ(pages, 2);
  EXPECT_THAT(names, ElementsAre("Alpha", "Bravo", "charlie", "delta"));
  EXPECT_FALSE(catalog_->list("", 0).ok());
}

TEST_F(CatalogTest, NameComesFromTheManifestOrTheCallerAndMustAgree) {
  const std::string named = ZipForTest().file("thaw.toml", "name = \"one\"\ncommand = \"./run\"\n").bytes();
  ASSERT_TRUE(deploy("", named).ok());
  EXPECT_NE(catalog_->find("one"), nullptr);
  EXPECT_THAT(error_of("two", named), HasSubstr("name = \"one\""));
  EXPECT_THAT(error_of("", package("x")), HasSubstr("no name"));
  EXPECT_THAT(error_of("../etc", package("x")), HasSubstr("not possible"));
  EXPECT_EQ(catalog_->count(), 1U);
}

TEST_F(CatalogTest, OverridesAreLaidOverTheManifest) {
  const auto record = deploy("a", package("x"), "memory_mb = 300\n[environment]\nMODE = \"fast\"\n");
  ASSERT_TRUE(record.ok()) << record.error().message;
  EXPECT_EQ(record->config.memory_mb, 300U);
  EXPECT_EQ(record->config.environment.at("MODE"), "fast");
  EXPECT_THAT(error_of("b", package("x"), "memory_mb = 1\n"), HasSubstr("memory_mb = 1 is out of range: 128 to 10240"));
}

TEST_F(CatalogTest, BareModelFolderBecomesAnOnnxFunction) {
  const std::string zip = ZipForTest().file("model.onnx", "onnx").file("config.json", "{}").bytes();
  const auto record = deploy("qa", zip);
  ASSERT_TRUE(record.ok()) << record.error().message;
  EXPECT_EQ(record->config.engine, "thaw-onnx");
  EXPECT_EQ(record->config.concurrency, 8U);
  EXPECT_THAT(error_of("x", ZipForTest().file("model.onnx", "onnx").bytes()), HasSubstr("no thaw.toml"));
  EXPECT_THAT(error_of("x", ZipForTest().file("thaw.toml", "engine = \"thaw-onnx\"\n").bytes()),
              HasSubstr("needs a model"));
}

TEST_F(CatalogTest, BadPackageLeavesNothingAndTheOldVersionServing) {
  ASSERT_TRUE(deploy("a", package("good")).ok());
  const auto before = *catalog_->find("a");
  EXPECT_THAT(error_of("a", "this is no zip at all"), HasSubstr("not a zip"));
  EXPECT_THAT(error_of("a", ZipForTest().file("../x", "y").bytes()), HasSubstr("\"../x\""));
  EXPECT_THAT(error_of("a", ZipForTest().file("thaw.toml", "comand = \"x\"").bytes()),
              HasSubstr("did you mean command"));
  EXPECT_THAT(error_of("a", ZipForTest().file("dir/thaw.toml", kManifest).bytes()),
              HasSubstr("zip what is in that folder"));
  EXPECT_EQ(*catalog_->find("a"), before);
  EXPECT_EQ(count_in(data_.at("packages")), 1U);
}

TEST_F(CatalogTest, UploadOutsideTheUploadsFolderIsRefusedAndLeftAlone) {
  const std::string path = data_.at("mine.zip");
  write_for_test(path, package("x"));
  EXPECT_FALSE(catalog_->deploy({.name = "a", .package_path = path, .overrides = ""}).ok());
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(CatalogTest, SecondDaemonOnTheSameFolderIsToldSo) {
  const auto second = Catalog::open(data_.path());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().kind, ErrorKind::conflict);
  EXPECT_THAT(second.error().message, HasSubstr("process " + std::to_string(::getpid())));
}

TEST_F(CatalogTest, MissingPackageIsReportedAndTheOthersServe) {
  ASSERT_TRUE(deploy("lost", package("1")).ok());
  ASSERT_TRUE(deploy("kept", package("2")).ok());
  const std::string lost = catalog_->find("lost")->code_sha256;
  catalog_.reset();
  std::filesystem::remove_all(data_.at("packages/" + lost));
  reopen();
  const auto hold = catalog_->hold_package(catalog_->find("lost")->code_sha256);
  ASSERT_FALSE(hold.ok());
  EXPECT_EQ(hold.error().kind, ErrorKind::corrupt);
  EXPECT_TRUE(catalog_->hold_package(catalog_->find("kept")->code_sha256).ok());
  ASSERT_TRUE(deploy("lost", package("1")).ok());
  EXPECT_TRUE(catalog_->hold_package(lost).ok());
}

TEST_F(CatalogTest, LeftoversOfACrashAreClearedOnOpen) {
  ASSERT_TRUE(deploy("a", package("1")).ok());
  catalog_.reset();
  write_for_test(data_.at("uploads/half.zip"), "PK");
  std::filesystem::create_directories(data_.at("staging/half/deep"));
  std::filesystem::create_directories(data_.at("packages/" + std::string(64, 'a')));
  reopen();
  EXPECT_EQ(count_in(data_.at("uploads")), 0U);
  EXPECT_EQ(count_in(data_.at("staging")), 0U);
  EXPECT_EQ(count_in(data_.at("packages")), 1U);
}

TEST_F(CatalogTest, DamagedDatabaseIsNamedInTheError) {
  ASSERT_TRUE(deploy("a", package("1")).ok());
  catalog_.reset();
  write_for_test(data_.at("catalog.db"), std::string(8192, 'x'));
  const auto opened = Catalog::open(data_.path());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().kind, ErrorKind::corrupt);
  EXPECT_THAT(opened.error().message, HasSubstr(data_.at("catalog.db")));
}

TEST_F(CatalogTest, DatabaseIsForItsOwnerOnly) {
  ASSERT_TRUE(deploy("a", package("1")).ok());
  for (const char* file : {"catalog.db", "catalog.db-wal", "catalog.db-shm"}) {
    struct stat info {};
    ASSERT_EQ(::stat(data_.at(file).c_str(), &info), 0) << file;
    EXPECT_EQ(info.st_mode & 0777, 0600U) << file;
  }
}

TEST_F(CatalogTest, DeploysAtOnceAreSafe) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const std::string path = catalog_->new_upload_path();
        write_for_test(path, package(std::to_string(i % 3)));
        const auto record =
            catalog_->deploy({.name = "f" + std::to_string((t + i) % 3), .package_path = path, .overrides = ""});
        ASSERT_TRUE(record.ok()) << record.error().message;
        if (i % 4 == 3) (void)catalog_->remove("f" + std::to_string(t % 3));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto page = catalog_->list("", 100);
  ASSERT_TRUE(page.ok());
  std::vector<std::string> digests;
  for (const auto& function : page->functions) {
    EXPECT_TRUE(catalog_->hold_package(function.code_sha256).ok()) << function.config.name;
    digests.push_back(function.code_sha256);
  }
  std::sort(digests.begin(), digests.end());
  digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
  expect_packages(digests.size());
  reopen();
  EXPECT_EQ(catalog_->list("", 100)->functions, page->functions);
}

// kill -9 after each durable step: the old state or the new one, and nothing besides.
class CatalogCrash : public ::testing::TestWithParam<const char*> {};

TEST_P(CatalogCrash, LeavesOldStateOrNewState) {
  const FolderForTest data;
  const std::string step = GetParam();
  const std::string old_zip = package("old");
  const std::string new_zip = package("new");
  const auto in_child = [&](const std::string& die_at, auto work) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto catalog = open_catalog(data.path(),
                                  {.removal_delay = std::chrono::milliseconds(0), .at_step = [&](std::string_view at) {
                                     if (at == die_at) ::kill(::getpid(), SIGKILL);
                                   }});
      if (!catalog) ::_exit(2);
      work(**catalog);
      catalog->reset();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  };
  const auto deploy = [](Catalog& catalog, const std::string& zip) {
    const std::string path = catalog.new_upload_path();
    write_for_test(path, zip);
    if (!catalog.deploy({.name = "f", .package_path = path, .overrides = ""}).ok()) ::_exit(3);
  };
  ASSERT_EQ(in_child("", [&](Catalog& catalog) { deploy(catalog, old_zip); }), 0);
  const int status = in_child(step, [&](Catalog& catalog) {
    if (step == "erased") {
      (void)catalog.remove("f");
    } else {
      deploy(catalog, new_zip);
    }
  });
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;

  auto catalog = Catalog::open(data.path());
  ASSERT_TRUE(catalog.ok()) << catalog.error().message;
  EXPECT_EQ(count_in(data.at("uploads")), 0U);
  EXPECT_EQ(count_in(data.at("staging")), 0U);
  if (step == "erased") {
    EXPECT_EQ((*catalog)->find("f"), nullptr);
    EXPECT_EQ(count_in(data.at("packages")), 0U);
    return;
  }
  ASSERT_NE((*catalog)->find("f"), nullptr);
  EXPECT_EQ(count_in(data.at("packages")), 1U);
  const std::string sha = (*catalog)->find("f")->code_sha256;
  ASSERT_TRUE((*catalog)->hold_package(sha).ok());
  EXPECT_EQ(read_for_test(data.at("packages/" + sha + "/app.py")), step == "recorded" ? "new" : "old");
}

INSTANTIATE_TEST_SUITE_P(AtEachStep, CatalogCrash,
                         ::testing::Values("unpacked", "synced", "placed", "recorded", "erased"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace
}  // namespace thaw::control
