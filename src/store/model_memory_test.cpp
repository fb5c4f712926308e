#include "store/model_memory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <thread>

#include "base/digest/sha256.h"
#include "base/sys.h"
#include "model/gguf_for_test.h"
#include "store/memory_store_for_test.h"
#include "store/open_model_memory.h"

namespace thaw::store {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class BudgetForTest : public MemoryBudget {
 public:
  bool take(std::uint64_t bytes) override {
    while (taken_ + bytes > max) {
      if (memory == nullptr || !memory->drop_oldest_unused()) return false;
    }
    taken_ += bytes;
    return true;
  }
  void give_back(std::uint64_t bytes) override { taken_ -= bytes; }
  std::uint64_t taken() const { return taken_; }

  std::uint64_t max = 1ULL << 30;
  ModelMemory* memory = nullptr;

 private:
  std::atomic<std::uint64_t> taken_{0};
};

std::string pattern(std::size_t bytes, unsigned seed = 1) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>((i * 2654435761U + seed * 97) >> 11);
  return text;
}

class ModelMemoryTest : public testing::Test {
 protected:
  ModelMemoryTest() {
    std::string path = (fs::temp_directory_path() / "thaw-models-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) std::abort();
    folder_ = path;
    store_ = std::make_shared<MemoryStoreForTest>();
    open();
  }
  ~ModelMemoryTest() override {
    memory_.reset();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  void open() {
    budget_.memory = nullptr;
    memory_.reset();
    FetchLimits limits;
    limits.pause_first = std::chrono::milliseconds(1);
    limits.pause_max = std::chrono::milliseconds(2);
    auto opened = open_model_memory(
        folder_, {.budget = budget_,
                  .open_store = [this](const ModelUri&) { return Result<std::shared_ptr<ports::ObjectStore>>(store_); },
                  .fetch = limits});
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    memory_ = std::move(*opened);
    budget_.memory = memory_.get();
  }

  static std::string contents_of(const ModelHold& hold, const std::string& path) {
    const auto fd = sys::openat(hold.folder, path, O_RDONLY);
    return fd.ok() ? sys::read_fd(*fd, 1 << 30, path).value() : fd.error().message;
  }

  // No model, no byte and nothing on its way.
  void expect_nothing_left() {
    EXPECT_EQ(budget_.taken(), 0U);
    EXPECT_TRUE(fs::is_empty(folder_ + "/models"));
    EXPECT_TRUE(fs::is_empty(folder_ + "/fetching"));
  }

  Error fetch_error(const ModelSource& source) {
    auto fetched = memory_->fetch(source);
    EXPECT_FALSE(fetched.ok());
    return fetched.ok() ? Error() : fetched.error();
  }

  std::string folder_;
  BudgetForTest budget_;
  std::shared_ptr<MemoryStoreForTest> store_;
  std::unique_ptr<ModelMemory> memory_;
};

constexpr std::size_t kBig = 20'000'001;  // two pieces and some

TEST_F(ModelMemoryTest, AModelIsThereWholeAndReadOnly) {
  store_->set("m.bin", {pattern(kBig)});
  const auto held = memory_->fetch({.uri = "s3://bucket/m.bin"});
  ASSERT_TRUE(held.ok()) << held.error().message;
  EXPECT_EQ(held->info.file, "m.bin");
  EXPECT_EQ(held->info.bytes, kBig);
  EXPECT_EQ(held->info.etag, "\"1\"");
  EXPECT_TRUE(contents_of(*held, "m.bin") == pattern(kBig));
  struct stat info {};
  ASSERT_EQ(::fstatat(held->folder.get(), "m.bin", &info, 0), 0);
  EXPECT_EQ(info.st_mode & 0777, 0444U);
  ASSERT_EQ(::fstat(held->folder.get(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0755U);
  EXPECT_GE(budget_.taken(), kBig);
}

TEST_F(ModelMemoryTest, EqualContentsHaveEqualDigestsWhateverTheWay) {
  store_->set("a/m.bin", {pattern(kBig)});
  store_->set("b/m.bin", {pattern(kBig)});
  store_->set("c/m.bin", {pattern(kBig, 2)});
  const std::string first = memory_->fetch({.uri = "s3://bucket/a/m.bin"})->info.digest;
  store_->on_read = [](const ports::ObjectRange&, unsigned number) -> std::optional<MemoryStoreForTest::Failure> {
    if (number % 2 == 0) return std::nullopt;
    return MemoryStoreForTest::Failure{{ErrorKind::unavailable, "broken off"}, 1234567};
  };
  EXPECT_EQ(memory_->fetch({.uri = "s3://bucket/b/m.bin"})->info.digest, first);
  EXPECT_NE(memory_->fetch({.uri = "s3://bucket/c/m.bin"})->info.digest, first);
}

TEST_F(ModelMemoryTest, AFolderKeepsItsTree) {
  for (const char* key : {"f/config.json", "f/onnx/model.onnx", "f/z", "f/onnx/data", "g/other"})
    store_->set(key, {key});
  store_->set("f/", {""});
  const auto held = memory_->fetch({.uri = "s3://bucket/f/"});
  ASSERT_TRUE(held.ok()) << held.error().message;
  EXPECT_EQ(held->info.file, "");
  EXPECT_EQ(contents_of(*held, "onnx/model.onnx"), "f/onnx/model.onnx");
  EXPECT_EQ(contents_of(*held, "z"), "f/z");
  EXPECT_FALSE(sys::openat(held->folder, "other", O_RDONLY).ok());
}

TEST_F(ModelMemoryTest, NoKeyOfAFolderLeadsOutOfIt) {
  store_->set("f/../../evil", {"x"});
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/f/"}).kind, ErrorKind::invalid_argument);
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, AFileThatIsAFolderTooIsRefused) {
  store_->set("f/a", {"x"});
  store_->set("f/a/b", {"x"});
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/f/"}).kind, ErrorKind::invalid_argument);
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, TooManyObjectsAreRefused) {
  for (std::size_t i = 0; i <= kModelFilesMax; ++i) store_->set("f/" + std::to_string(i), {"x"});
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/f/"}).kind, ErrorKind::too_large);
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, AModelThatDoesNotFitNamesTheLimitAndIsNotBegun) {
  budget_.max = kBig / 2;
  store_->set("m.bin", {pattern(kBig)});
  const Error error = fetch_error({.uri = "s3://bucket/m.bin"});
  EXPECT_EQ(error.kind, ErrorKind::too_large);
  EXPECT_THAT(error.message, HasSubstr("memory_max_mb"));
  EXPECT_EQ(store_->reads, 0U);
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, BrokenConnectionsGoOnBehindTheLastByte) {
  store_->set("m.bin", {pattern(kBig)});
  std::mutex mutex;
  std::vector<std::uint64_t> offsets;
  store_->on_read = [&](const ports::ObjectRange& range, unsigned) -> std::optional<MemoryStoreForTest::Failure> {
    const std::lock_guard lock(mutex);
    offsets.push_back(range.offset);
    if (range.offset % kDigestPieceBytes != 0) return std::nullopt;
    return MemoryStoreForTest::Failure{{ErrorKind::unavailable, "broken off"}, 500000};
  };
  const auto held = memory_->fetch({.uri = "s3://bucket/m.bin"});
  ASSERT_TRUE(held.ok()) << held.error().message;
  EXPECT_TRUE(contents_of(*held, "m.bin") == pattern(kBig));
  EXPECT_THAT(offsets, testing::Contains(500000U));
}

TEST_F(ModelMemoryTest, AServerThatNeverAnswersIsGivenUp) {
  store_->set("m.bin", {pattern(1000)});
  store_->on_read = [](const ports::ObjectRange&, unsigned) -> std::optional<MemoryStoreForTest::Failure> {
    return MemoryStoreForTest::Failure{{ErrorKind::unavailable, "503"}, 0};
  };
  const Error error = fetch_error({.uri = "s3://bucket/m.bin"});
  EXPECT_EQ(error.kind, ErrorKind::unavailable);
  EXPECT_THAT(error.message, HasSubstr("after 6 tries"));
  EXPECT_EQ(store_->reads, 6U);
  expect_nothing_left();
  ASSERT_THAT(memory_->list(), SizeIs(1));
  EXPECT_EQ(memory_->list()[0].state, ModelState::failed);
  EXPECT_THAT(memory_->list()[0].error, HasSubstr("503"));
}

TEST_F(ModelMemoryTest, RefusalsAreNotTriedAgain) {
  store_->set("m.bin", {pattern(1000)});
  store_->on_head = [](unsigned) -> Status { return Error{ErrorKind::forbidden, "403"}; };
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/m.bin"}).kind, ErrorKind::forbidden);
  EXPECT_EQ(store_->heads, 1U);
  store_->on_head = {};
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/none"}).kind, ErrorKind::not_found);
  EXPECT_EQ(fetch_error({.uri = "nonsense"}).kind, ErrorKind::invalid_argument);
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, AnObjectThatChangesMeanwhileIsAConflict) {
  store_->set("m.bin", {pattern(kBig)});
  store_->on_read = [&](const ports::ObjectRange&, unsigned number) -> std::optional<MemoryStoreForTest::Failure> {
    if (number == 1) store_->set("m.bin", {pattern(kBig, 2), "\"2\""});
    return std::nullopt;
  };
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/m.bin"}).kind, ErrorKind::conflict);
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, Sha256IsCheckedAgainstWhoeverKnowsIt) {
  const std::string right = hex(sha256(pattern(kBig)));
  store_->set("m.bin", {pattern(kBig)});
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/m.bin", .sha256 = std::string(64, '0')}).kind, ErrorKind::corrupt);
  expect_nothing_left();
  EXPECT_TRUE(memory_->fetch({.uri = "s3://bucket/m.bin", .sha256 = right}).ok());
  store_->set("n.bin", {pattern(kBig, 2), "\"1\"", right});
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/n.bin"}).kind, ErrorKind::corrupt);
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/n.bin", .sha256 = std::string(64, '1')}).kind, ErrorKind::corrupt);
}

TEST_F(ModelMemoryTest, AGgufThatIsNoneOrNotWholeIsNotKept) {
  const std::string whole = model::small_gguf().file();
  store_->set("m.gguf", {whole});
  store_->set("cut.gguf", {whole.substr(0, whole.size() - 10)});
  store_->set("zip.gguf", {"PK and so on"});
  EXPECT_TRUE(memory_->fetch({.uri = "s3://bucket/m.gguf"}).ok());
  ASSERT_TRUE(memory_->remove("s3://bucket/m.gguf").ok());
  const Error cut = fetch_error({.uri = "s3://bucket/cut.gguf"});
  EXPECT_EQ(cut.kind, ErrorKind::corrupt);
  EXPECT_EQ(cut.message, "cut.gguf is cut short: 10 bytes are missing");
  const Error zip = fetch_error({.uri = "s3://bucket/zip.gguf"});
  EXPECT_EQ(zip.kind, ErrorKind::invalid_argument);
  EXPECT_EQ(zip.message, "zip.gguf is not GGUF");
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, ADigestIsServedFromMemoryAloneAndOtherContentsAreAConflict) {
  store_->set("m.bin", {pattern(1000)});
  const std::string digest = memory_->fetch({.uri = "s3://bucket/m.bin"})->info.digest;
  const unsigned heads = store_->heads;
  EXPECT_TRUE(memory_->fetch({.uri = "s3://bucket/m.bin", .digest = digest}).ok());
  EXPECT_EQ(store_->heads, heads) << "the store was not asked";
  store_->set("m.bin", {pattern(1000, 2), "\"2\""});
  EXPECT_TRUE(memory_->fetch({.uri = "s3://bucket/m.bin", .digest = digest}).ok());
  ASSERT_TRUE(memory_->remove("s3://bucket/m.bin").ok());
  EXPECT_EQ(fetch_error({.uri = "s3://bucket/m.bin", .digest = digest}).kind, ErrorKind::conflict);
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, AnUnchangedObjectIsNotFetchedAgainAndAChangedOneIs) {
  store_->set("m.bin", {pattern(1000)});
  const auto first = memory_->fetch({.uri = "s3://bucket/m.bin"});
  ASSERT_TRUE(first.ok());
  const unsigned reads = store_->reads;
  EXPECT_EQ(memory_->fetch({.uri = "s3://bucket/m.bin"})->info.id, first->info.id);
  EXPECT_EQ(store_->reads, reads);
  store_->set("m.bin", {pattern(1000, 2), "\"2\""});
  const auto second = memory_->fetch({.uri = "s3://bucket/m.bin"});
  EXPECT_NE(second->info.id, first->info.id);
  EXPECT_TRUE(contents_of(*first, "m.bin") == pattern(1000)) << "who has the old one keeps it";
  store_->set("m.bin", {pattern(1000, 2), "\"3\""});
  EXPECT_EQ(memory_->fetch({.uri = "s3://bucket/m.bin"})->info.id, second->info.id) << "only the ETag has changed";
  EXPECT_EQ(budget_.taken(), 2 * 4096U);
}

TEST_F(ModelMemoryTest, CallersAtTheSameTimeShareOneFetch) {
  store_->set("m.bin", {pattern(kBig)});
  store_->on_read = [](const ports::ObjectRange&, unsigned) -> std::optional<MemoryStoreForTest::Failure> {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    return std::nullopt;
  };
  std::vector<std::future<Result<ModelHold>>> all;
  all.reserve(8);
  for (int i = 0; i < 8; ++i)
    all.push_back(std::async(std::launch::async, [&] { return memory_->fetch({.uri = "s3://bucket/m.bin"}); }));
  std::vector<ModelHold> holds;
  for (auto& one : all) {
    auto held = one.get();
    ASSERT_TRUE(held.ok()) << held.error().message;
    holds.push_back(std::move(*held));
  }
  EXPECT_EQ(store_->reads, 3U);
  ASSERT_THAT(memory_->list(), SizeIs(1));
  EXPECT_EQ(memory_->list()[0].holds, 8U);
  EXPECT_EQ(memory_->remove("s3://bucket/m.bin").error().kind, ErrorKind::conflict);
  holds.clear();
  EXPECT_EQ(memory_->list()[0].holds, 0U);
  EXPECT_TRUE(memory_->remove(memory_->list()[0].info.id).ok());
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, FourFetchesRunAtATimeAndTheOthersWait) {
  std::mutex mutex;
  std::set<std::string> seen;
  std::atomic<bool> go{false};
  for (int i = 0; i < 7; ++i) store_->set("m" + std::to_string(i), {pattern(1000)});
  store_->on_read = [&](const ports::ObjectRange& range, unsigned) -> std::optional<MemoryStoreForTest::Failure> {
    {
      const std::lock_guard lock(mutex);
      seen.insert(range.key);
    }
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return std::nullopt;
  };
  std::vector<std::future<Result<ModelHold>>> all;
  all.reserve(8);
  for (int i = 0; i < 7; ++i) {
    const std::string uri = "s3://bucket/m" + std::to_string(i);
    all.push_back(std::async(std::launch::async, [this, uri] { return memory_->fetch({.uri = uri}); }));
  }
  while (store_->reads < 4 || store_->heads < 7) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  {
    const std::lock_guard lock(mutex);
    EXPECT_THAT(seen, SizeIs(4));
  }
  go = true;
  for (auto& one : all) EXPECT_TRUE(one.get().ok());
}

TEST_F(ModelMemoryTest, WhoWaitsForAFetchThatFailsGetsItsError) {
  store_->set("m.bin", {pattern(1000)});
  std::atomic<bool> go{false};
  store_->on_read = [&](const ports::ObjectRange&, unsigned) -> std::optional<MemoryStoreForTest::Failure> {
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return MemoryStoreForTest::Failure{{ErrorKind::forbidden, "403"}, 0};
  };
  std::vector<std::future<Result<ModelHold>>> all;
  all.reserve(8);
  for (int i = 0; i < 4; ++i)
    all.push_back(std::async(std::launch::async, [&] { return memory_->fetch({.uri = "s3://bucket/m.bin"}); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  go = true;
  for (auto& one : all) EXPECT_EQ(one.get().error().kind, ErrorKind::forbidden);
  expect_nothing_left();
}

TEST_F(ModelMemoryTest, RemovingAModelOnItsWayStopsTheFetch) {
  store_->set("m.bin", {pattern(kBig)});
  store_->on_read = [&](const ports::ObjectRange&, unsigned) -> std::optional<MemoryStoreForTest::Failure> {
    return MemoryStoreForTest::Failure{{ErrorKind::unavailable, "slow"}, 1000};
  };
  auto fetched = std::async(std::launch::async, [&] { return memory_->fetch({.uri = "s3://bucket/m.bin"}); });
  while (store_->reads == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(memory_->remove("s3://bucket/m.bin").ok());
  EXPECT_EQ(fetched.get().error().kind, ErrorKind::unavailable);
  expect_nothing_left();
  EXPECT_EQ(memory_->remove("s3://bucket/m.bin").error().kind, ErrorKind::not_found);
}

TEST_F(ModelMemoryTest, TheOneUnusedLongestMakesRoom) {
  budget_.max = 3 * 4096;
  for (const char* key : {"a", "b", "c", "d"}) store_->set(key, {key});
  EXPECT_FALSE(memory_->oldest_unused().has_value());
  auto a = memory_->fetch({.uri = "s3://bucket/a"});
  (void)memory_->fetch({.uri = "s3://bucket/b"});
  (void)memory_->fetch({.uri = "s3://bucket/c"});
  EXPECT_TRUE(memory_->oldest_unused().has_value());
  ASSERT_TRUE(memory_->fetch({.uri = "s3://bucket/d"}).ok());
  std::vector<std::string> uris;
  for (const ModelView& view : memory_->list()) uris.push_back(view.info.uri);
  EXPECT_THAT(uris, testing::UnorderedElementsAre("s3://bucket/a", "s3://bucket/c", "s3://bucket/d"));
  EXPECT_TRUE(contents_of(*a, "a") == "a");
}

TEST_F(ModelMemoryTest, ARestartKeepsWholeModelsAndNothingElse) {
  store_->set("m.bin", {pattern(kBig)});
  store_->set("n.bin", {pattern(5000)});
  const std::string kept = memory_->fetch({.uri = "s3://bucket/m.bin"})->info.id;
  const std::string broken = memory_->fetch({.uri = "s3://bucket/n.bin"})->info.id;
  const std::uint64_t taken = budget_.taken();
  budget_.give_back(taken);
  fs::permissions(folder_ + "/models/" + broken + "/files/n.bin", fs::perms::owner_all);
  fs::resize_file(folder_ + "/models/" + broken + "/files/n.bin", 4000);
  fs::create_directories(folder_ + "/models/stray/files");
  fs::create_directories(folder_ + "/fetching/uuid/files");
  std::ofstream(folder_ + "/fetching/uuid/files/half") << "half";
  open();
  ASSERT_THAT(memory_->list(), SizeIs(1));
  EXPECT_EQ(memory_->list()[0].info.id, kept);
  EXPECT_EQ(budget_.taken(), (kBig + 4095) / 4096 * 4096);
  EXPECT_TRUE(fs::is_empty(folder_ + "/fetching"));
  const unsigned reads = store_->reads;
  EXPECT_TRUE(memory_->fetch({.uri = "s3://bucket/m.bin"}).ok());
  EXPECT_EQ(store_->reads, reads) << "it was still there";
}

TEST_F(ModelMemoryTest, WhatDoesNotFitAfterARestartGoes) {
  store_->set("m.bin", {pattern(kBig)});
  (void)memory_->fetch({.uri = "s3://bucket/m.bin"});
  budget_.give_back(budget_.taken());
  budget_.max = 1000;
  open();
  EXPECT_THAT(memory_->list(), IsEmpty());
  expect_nothing_left();
}

}  // namespace
}  // namespace thaw::store
