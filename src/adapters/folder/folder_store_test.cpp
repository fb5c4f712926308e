#include "adapters/folder/folder_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "ports/object_store_contract_test.h"

namespace thaw::ports {
namespace {

namespace fs = std::filesystem;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string path = (fs::temp_directory_path() / "thaw-store-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) std::abort();
    path_ = path;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void write_file(const fs::path& path, const std::string& contents) {
  fs::create_directories(path.parent_path());
  // A new file beside and a rename, as an upload does: another inode.
  const fs::path beside = path.string() + ".new";
  std::ofstream(beside, std::ios::binary) << contents;
  fs::rename(beside, path);
}

class FolderFixture : public StoreFixture {
 public:
  FolderFixture() { store_ = adapters::open_folder_store(folder_.path().string()).value(); }
  ObjectStore& store() override { return *store_; }
  void fill(const std::string& key, const std::string& contents) override {
    write_file(folder_.path() / key, contents);
  }

 private:
  TemporaryFolder folder_;
  std::shared_ptr<ObjectStore> store_;
};

std::unique_ptr<StoreFixture> make_folder_fixture() { return std::make_unique<FolderFixture>(); }
INSTANTIATE_TEST_SUITE_P(Folder, ObjectStoreContract, testing::Values(&make_folder_fixture));

class FolderStore : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::shared_ptr<ObjectStore> store_ = adapters::open_folder_store(folder_.path().string()).value();
};

TEST_F(FolderStore, NoKeyLeadsOutOfTheFolder) {
  for (const char* key : {"../x", "a/../../x", "/etc/passwd", "a//b", "./a", "", "a/"})
    EXPECT_EQ(store_->head(key, Call()).error().kind, ErrorKind::invalid_argument) << key;
  fs::create_symlink("/etc/passwd", folder_.path() / "link");
  EXPECT_EQ(store_->head("link", Call()).error().kind, ErrorKind::forbidden);
  fs::create_directory_symlink("/etc", folder_.path() / "etc");
  EXPECT_EQ(store_->head("etc/passwd", Call()).error().kind, ErrorKind::forbidden);
  write_file(folder_.path() / "real", "x");
  fs::create_symlink("real", folder_.path() / "inside");
  EXPECT_TRUE(store_->head("inside", Call()).ok());
}

TEST_F(FolderStore, WhatIsNoFileIsNotFoundAndNotWaitedFor) {
  ASSERT_EQ(::mkfifo((folder_.path() / "pipe").c_str(), 0600), 0);
  fs::create_directory(folder_.path() / "dir");
  EXPECT_EQ(store_->head("pipe", Call()).error().kind, ErrorKind::not_found);
  EXPECT_EQ(store_->head("dir", Call()).error().kind, ErrorKind::not_found);
}

TEST_F(FolderStore, AnUploadUnderWayIsNotListed) {
  write_file(folder_.path() / ".thaw-upload-1", "x");
  write_file(folder_.path() / "a", "x");
  const auto page = store_->list({.prefix = ""}, Call());
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->objects.size(), 1U);
  EXPECT_EQ(page->objects[0].key, "a");
}

TEST_F(FolderStore, PutOverAFolderIsAConflictAndLeavesNothing) {
  write_file(folder_.path() / "dir" / "a", "x");
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(store_->put({.key = "dir", .bytes = 10}, file, Call()).error().kind, ErrorKind::conflict);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 1);
}

TEST_F(FolderStore, APrefixStandsBeforeEveryKey) {
  write_file(folder_.path() / "m" / "a", "12345");
  const auto store =
      adapters::open_folder_store(UniqueFd(::open(folder_.path().c_str(), O_PATH | O_CLOEXEC)), "/srv/x/");
  EXPECT_EQ(store->head("/srv/x/m/a", Call())->bytes, 5U);
  EXPECT_EQ(store->head("m/a", Call()).error().kind, ErrorKind::invalid_argument);
  const auto page = store->list({.prefix = "/srv/x/m/"}, Call());
  ASSERT_TRUE(page.ok()) << page.error().message;
  EXPECT_EQ(page->objects.at(0).key, "/srv/x/m/a");
}

}  // namespace
}  // namespace thaw::ports
