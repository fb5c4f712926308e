#include "snapshot/snapshot_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/sys.h"

namespace thaw::snapshot {
namespace {

class SnapshotFolderTest : public testing::Test {
 protected:
  SnapshotFolderTest() {
    std::string name = testing::TempDir() + "thaw-snapshots-XXXXXX";
    path_ = ::mkdtemp(name.data());
    folder_ = SnapshotFolder::open(path_ + "/s").value();
  }
  ~SnapshotFolderTest() override { std::filesystem::remove_all(path_); }

  UniqueFd file_with(const std::string& text) const {
    UniqueFd file = folder_->create().value();
    EXPECT_TRUE(sys::write_all(file, text).ok());
    return file;
  }
  std::string image(const std::string& revision) const {
    const auto file = folder_->find(revision);
    return file.ok() ? sys::read_fd(*file, 1 << 20, "image").value() : "none";
  }
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(path_ + "/s"), std::filesystem::directory_iterator()));
  }

  std::string path_;
  std::unique_ptr<SnapshotFolder> folder_;
};

TEST_F(SnapshotFolderTest, ANewImageTakesTheOldOnesPlaceAndLeavesItsReadersTheOldOne) {
  ASSERT_TRUE(folder_->publish(file_with("one"), "a").ok());
  const UniqueFd old = folder_->find("a").value();
  ASSERT_TRUE(folder_->publish(file_with("two"), "a").ok());
  EXPECT_EQ(image("a"), "two");
  EXPECT_EQ(sys::read_fd(old, 100, "old").value(), "one");
  EXPECT_EQ(files(), 1U);
}

TEST_F(SnapshotFolderTest, WhatAKilledDaemonLeftBesideIsNoObstacleAndGoesWithTheSweep) {
  std::ofstream(path_ + "/s/a.img.new") << "half";
  ASSERT_TRUE(folder_->publish(file_with("one"), "a").ok());
  EXPECT_EQ(image("a"), "one");
  std::ofstream(path_ + "/s/b.img.new") << "half";
  std::ofstream(path_ + "/s/a.json.tmp") << "half";
  folder_->keep_only({"a", "b"});
  EXPECT_EQ(files(), 1U);
}

TEST_F(SnapshotFolderTest, AFileThatIsNotPublishedLeavesNothing) {
  (void)file_with("one");
  EXPECT_EQ(files(), 0U);
}

TEST_F(SnapshotFolderTest, StateAndImageAreForgottenTogether) {
  EXPECT_EQ(folder_->load_state("a").error().kind, ErrorKind::not_found);
  ASSERT_TRUE(folder_->save_state("a", "{}").ok());
  ASSERT_TRUE(folder_->publish(file_with("one"), "a").ok());
  folder_->remove("a");
  EXPECT_EQ(folder_->load_state("a").value(), "{}");
  EXPECT_EQ(image("a"), "none");
  folder_->forget("a");
  EXPECT_EQ(files(), 0U);
}

TEST_F(SnapshotFolderTest, ImagesTellTheirSizeOnDiskAndTheirLastUse) {
  ASSERT_TRUE(folder_->publish(file_with(std::string(100000, 'x')), "a").ok());
  ASSERT_TRUE(folder_->save_state("a", "{}").ok());
  const UniqueFd file = folder_->find("a").value();
  const timespec long_ago[2] = {{.tv_sec = 1000000, .tv_nsec = 0}, {.tv_sec = 1000000, .tv_nsec = 0}};
  ASSERT_EQ(::futimens(file.get(), long_ago), 0);
  auto images = folder_->images();
  ASSERT_EQ(images.size(), 1U);
  EXPECT_EQ(images[0].revision_id, "a");
  EXPECT_GE(images[0].disk_bytes, 100000U);
  EXPECT_LT(images[0].disk_bytes, 200000U);
  EXPECT_EQ(images[0].used_at, std::chrono::system_clock::from_time_t(1000000));
  SnapshotFolder::mark_used(file);
  images = folder_->images();
  EXPECT_GT(images[0].used_at, std::chrono::system_clock::now() - std::chrono::hours(1));
}

}  // namespace
}  // namespace thaw::snapshot
