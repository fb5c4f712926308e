#include "control/zip_intake.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/folder_for_test.h"
#include "base/sys.h"
#include "control/zip_for_test.h"

namespace thaw::control {
namespace {

using ::testing::HasSubstr;

class ZipIntake : public ::testing::Test {
 protected:
  Result<UnpackedPackage> unpack(const std::string& zip, const IntakeLimits& limits = {}) {
    write_for_test(folder_.at("in.zip"), zip);
    std::filesystem::remove_all(out());
    std::filesystem::create_directory(out());
    auto file = sys::open(folder_.at("in.zip"), O_RDONLY).value();
    auto into = sys::open(out(), O_RDONLY | O_DIRECTORY).value();
    return unpack_zip(file, into, limits);
  }
  Error error_of(const std::string& zip, const IntakeLimits& limits = {}) {
    auto package = unpack(zip, limits);
    // Nothing but the zip and the folder it was to go to.
    EXPECT_EQ(count_in(folder_.path()), 2U);
    return package.ok() ? Error{ErrorKind::internal, "no error"} : package.error();
  }
  std::string out() const { return folder_.at("out"); }
  mode_t mode_of(const std::string& name) const {
    struct stat info {};
    return ::lstat((out() + "/" + name).c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
  }

  FolderForTest folder_;
};

// A deflated zip, by the library that also reads it.
std::string deflated(const std::string& name, std::size_t zeros) {
  std::string zip(zeros / 500 + 4096, '\0');
  std::size_t used = 0;
  archive* a = archive_write_new();
  archive_write_set_format_zip(a);
  archive_write_set_options(a, "zip:compression=deflate");
  archive_write_open_memory(a, zip.data(), zip.size(), &used);
  archive_entry* entry = archive_entry_new();
  archive_entry_set_pathname(entry, name.c_str());
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0644);
  archive_entry_set_size(entry, static_cast<la_int64_t>(zeros));
  archive_write_header(a, entry);
  const std::string block(1 << 20, '\0');
  for (std::size_t left = zeros; left > 0;) {
    const std::size_t part = std::min(left, block.size());
    archive_write_data(a, block.data(), part);
    left -= part;
  }
  archive_entry_free(entry);
  archive_write_close(a);
  archive_write_free(a);
  zip.resize(used);
  return zip;
}

TEST_F(ZipIntake, FilesFoldersAndSafeLinksAreUnpackedWithPlainModes) {
  const auto before = ::umask(077);
  const auto package = unpack(ZipForTest()
                                  .add({.name = "run", .content = "#!/bin/sh\n", .mode = 0104711})
                                  .add({.name = "secret", .content = "x", .mode = 0100600})
                                  .add({.name = "empty/", .mode = 040700})
                                  .file("./deep/er/file.txt", "text")
                                  .link("deep/link", "../run")
                                  .add({.name = "na\xc3\xafve.txt", .content = "u", .flags = 0x800})
                                  .file("raw-\xe2\x82\xac.txt", "r")
                                  .bytes());
  ::umask(before);
  ASSERT_TRUE(package.ok()) << package.error().message;
  EXPECT_EQ(mode_of("run"), 0755U);
  EXPECT_EQ(mode_of("secret"), 0644U);
  EXPECT_EQ(read_for_test(out() + "/deep/link"), "#!/bin/sh\n");
  EXPECT_EQ(read_for_test(out() + "/deep/er/file.txt"), "text");
  EXPECT_EQ(read_for_test(out() + "/na\xc3\xafve.txt"), "u");
  EXPECT_EQ(read_for_test(out() + "/raw-\xe2\x82\xac.txt"), "r");
  EXPECT_EQ(package->bytes, 10U + 1 + 4 + 6 + 1 + 1);
  std::string listing;
  for (const auto& entry : package->entries)
    listing += std::string(1, static_cast<char>(entry.type)) + " " + entry.path + "\n";
  EXPECT_EQ(listing,
            "d deep\nd deep/er\nf deep/er/file.txt\nl deep/link\nd empty\nf na\xc3\xafve.txt\nf raw-\xe2\x82\xac.txt\n"
            "x run\nf secret\n");
}

TEST_F(ZipIntake, FoldersHaveTheirModeWhateverTheUmask) {
  const auto before = ::umask(077);
  const auto package = unpack(ZipForTest().file("a/b", "x").bytes());
  ::umask(before);
  ASSERT_TRUE(package.ok());
  EXPECT_EQ(mode_of("a"), 0755U);
}

TEST_F(ZipIntake, DigestIsOfContentNotOfTheZip) {
  const auto digest = [&](const ZipForTest& zip) { return unpack(zip.bytes()).value().sha256; };
  const std::string one = digest(ZipForTest().file("a", "1").file("b/c", "2"));
  EXPECT_EQ(one, digest(ZipForTest()
                            .add({.name = "b/", .mode = 040755})
                            .file("b/c", "2")
                            .add({.name = "a", .content = "1", .mode = 0100666})));
  EXPECT_NE(one, digest(ZipForTest().file("a", "1").file("b/c", "3")));
  EXPECT_NE(one, digest(ZipForTest().file("a", "1").file("b/d", "2")));
  EXPECT_NE(one, digest(ZipForTest().file("a", "1").add({.name = "b/c", .content = "2", .mode = 0100755})));
  EXPECT_NE(one, digest(ZipForTest().file("a", "1").link("b/c", "2")));
  EXPECT_NE(digest(ZipForTest().file("ab", "c")), digest(ZipForTest().file("a", "bc")));
  // The format of docs/formats/catalog.md, computed by other means.
  EXPECT_EQ(digest(ZipForTest().file("a", "1")), "f9349e078bcbaf9ea0415c0d6497dd3e97eb37171b4bfcb8faa683bc68056128");
}

TEST_F(ZipIntake, NamesThatLeaveThePackageAreRefusedByName) {
  for (const char* name : {"../evil", "a/../../evil", "a/..", "..", "/evil", "//evil", "a//b", "./../evil"}) {
    const Error error = error_of(ZipForTest().file("good", "x").file(name, "y").bytes());
    EXPECT_EQ(error.kind, ErrorKind::invalid_argument) << name;
    EXPECT_THAT(error.message, HasSubstr(std::string("\"") + name + "\""));
  }
  EXPECT_FALSE(std::filesystem::exists("/evil"));
}

TEST_F(ZipIntake, NamesOutOfBoundsAreRefused) {
  EXPECT_THAT(error_of(ZipForTest().file("a\xff", "x").bytes()).message, HasSubstr("not UTF-8"));
  EXPECT_FALSE(unpack(ZipForTest().add({.name = "a\xff", .content = "x", .flags = 0x800}).bytes()).ok());
  EXPECT_THAT(error_of(ZipForTest().file("a\nb", "x").bytes()).message, HasSubstr("\"a?b\" has a control character"));
  EXPECT_THAT(error_of(ZipForTest().file(std::string(256, 'a'), "x").bytes()).message, HasSubstr("255 bytes"));
  std::string deep;
  for (int i = 0; i < 70; ++i) deep += "d/";
  EXPECT_THAT(error_of(ZipForTest().file(deep + "f", "x").bytes()).message, HasSubstr("64 folders"));
  std::string longer;
  for (int i = 0; i < 10; ++i) longer += std::string(150, 'a') + "/";
  EXPECT_THAT(error_of(ZipForTest().file(longer + "f", "x").bytes()).message, HasSubstr("1024 bytes"));
  EXPECT_FALSE(unpack(ZipForTest().file("", "x").bytes()).ok());
}

TEST_F(ZipIntake, LinksThatMayLeadOutAreRefused) {
  for (const char* target : {"/etc/passwd", "..", "../..", "a/../..", "x/../y", ""}) {
    const Error error = error_of(ZipForTest().file("a/f", "x").link("l", target).bytes());
    EXPECT_THAT(error.message, HasSubstr("\"l\"")) << target;
  }
  EXPECT_THAT(error_of(ZipForTest().link("a/b/l", "../../../x").bytes()).message, HasSubstr("lead out"));
  EXPECT_TRUE(unpack(ZipForTest().link("a/b/l", "../../x").bytes()).ok());
}

TEST_F(ZipIntake, NothingIsWrittenThroughALink) {
  EXPECT_THAT(error_of(ZipForTest().file("d/f", "x").link("l", "d").file("l/g", "y").bytes()).message,
              HasSubstr("\"l/g\" uses another entry, which is no folder, as a folder"));
  EXPECT_FALSE(std::filesystem::exists(out() + "/d/g"));
  EXPECT_THAT(error_of(ZipForTest().file("f", "x").link("l", "f").file("l", "y").bytes()).message,
              HasSubstr("comes twice"));
  EXPECT_EQ(read_for_test(out() + "/f"), "x");
}

TEST_F(ZipIntake, EntriesThatComeTwiceAreRefused) {
  EXPECT_THAT(error_of(ZipForTest().file("a", "x").file("a", "y").bytes()).message, HasSubstr("\"a\" comes twice"));
  EXPECT_THAT(error_of(ZipForTest().file("a", "x").file("./a", "y").bytes()).message, HasSubstr("comes twice"));
  EXPECT_THAT(error_of(ZipForTest().file("a/b", "x").file("a", "y").bytes()).message, HasSubstr("comes twice"));
  EXPECT_THAT(error_of(ZipForTest().file("a", "x").file("a/b", "y").bytes()).message, HasSubstr("no folder"));
}

TEST_F(ZipIntake, DevicesAreNeverMade) {
  for (const std::uint32_t mode : {0020666U, 0060666U, 0140666U}) {
    const Error error = error_of(ZipForTest().add({.name = "dev", .content = "", .mode = mode}).bytes());
    EXPECT_THAT(error.message, HasSubstr("\"dev\" is neither a file, a folder nor a link"));
  }
  // libarchive takes a pipe for a file.
  ASSERT_TRUE(unpack(ZipForTest().add({.name = "pipe", .content = "", .mode = 0010666}).bytes()).ok());
  EXPECT_TRUE(std::filesystem::is_regular_file(out() + "/pipe"));
}

TEST_F(ZipIntake, WhatIsNoZipIsSaidToBeNone) {
  EXPECT_THAT(error_of("").message, HasSubstr("not a zip file"));
  EXPECT_THAT(error_of("hello, this is text").message, HasSubstr("not a zip file"));
  EXPECT_THAT(error_of(std::string("\x1f\x8b\x08\0\0\0\0\0", 8)).message, HasSubstr("not a zip file"));
  EXPECT_THAT(error_of("PK but no zip").message, HasSubstr("central directory"));
  EXPECT_THAT(error_of(ZipForTest().bytes()).message, HasSubstr("empty"));
}

TEST_F(ZipIntake, ZipThatIsCutShortAnywhereIsRefused) {
  const std::string zip = ZipForTest().file("a", std::string(300, 'x')).file("b/c", "2").bytes();
  ASSERT_TRUE(unpack(zip).ok());
  for (std::size_t size = 0; size < zip.size(); ++size) ASSERT_FALSE(unpack(zip.substr(0, size)).ok()) << size;
}

TEST_F(ZipIntake, DamagedContentIsRefused) {
  EXPECT_THAT(error_of(ZipForTest().add({.name = "a", .content = "text", .crc_change = 1}).bytes()).message,
              HasSubstr("\"a\""));
  EXPECT_FALSE(unpack(ZipForTest().add({.name = "a", .content = "text", .claimed_size_more = 5}).bytes()).ok());
  std::string zip = ZipForTest().file("a", "text").bytes();
  zip[zip.find("text")] = 'T';
  EXPECT_THAT(error_of(zip).message, HasSubstr("\"a\""));
}

TEST_F(ZipIntake, EncryptedEntriesAndOtherMethodsAreRefused) {
  EXPECT_THAT(error_of(ZipForTest().add({.name = "a", .content = std::string(40, 'x'), .flags = 1}).bytes()).message,
              HasSubstr("encrypted"));
  for (const std::uint16_t method : {12, 14, 93, 95, 98}) {
    EXPECT_THAT(error_of(ZipForTest().add({.name = "a", .content = "xxxxxxxx", .method = method}).bytes()).message,
                HasSubstr("deflate"));
  }
}

TEST_F(ZipIntake, LimitsAreHeldAndNamed) {
  ZipForTest many;
  for (int i = 0; i < 11; ++i) many.file("f" + std::to_string(i), "x");
  Error error = error_of(many.bytes(), {.entries_max = 10});
  EXPECT_EQ(error.kind, ErrorKind::too_large);
  EXPECT_THAT(error.message, HasSubstr("more than 10 entries"));
  EXPECT_THAT(error_of(ZipForTest().file("a/b/c/d", "x").bytes(), {.entries_max = 3}).message,
              HasSubstr("more than 3 entries"));
  error = error_of(ZipForTest().file("a", std::string(3 << 20, 'x')).bytes(), {.unpacked_bytes_max = 2 << 20});
  EXPECT_EQ(error.kind, ErrorKind::too_large);
  EXPECT_THAT(error.message, HasSubstr("more than 2 MiB (at \"a\")"));
}

TEST_F(ZipIntake, DirectoryTooLongForTheEntriesIsRefusedBeforeItIsRead) {
  std::string zip = ZipForTest().file("a", "x").bytes();
  zip.replace(zip.size() - 10, 4, "\xff\xff\xff\x0f");
  EXPECT_EQ(error_of(zip).kind, ErrorKind::too_large);
}

TEST_F(ZipIntake, BombIsRefusedByItsRatio) {
  const std::string bomb = deflated("zeros", 48 << 20);
  ASSERT_LT(bomb.size(), 1U << 20);
  const Error error = error_of(bomb);
  EXPECT_EQ(error.kind, ErrorKind::too_large);
  EXPECT_THAT(error.message, HasSubstr("200 times its size (at \"zeros\")"));
  std::uintmax_t written = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(out())) written += entry.file_size();
  EXPECT_LE(written, IntakeLimits().ratio_free_bytes);
  // Ordinary compression passes.
  EXPECT_TRUE(unpack(deflated("zeros", 16 << 20)).ok());
}

// Needs the right to mount, or user namespaces.
TEST_F(ZipIntake, FullDiskIsAClearError) {
  const std::string zip = ZipForTest().file("small", "x").file("big", std::string(4 << 20, 'x')).bytes();
  write_for_test(folder_.at("in.zip"), zip);
  std::filesystem::create_directory(out());
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ::_exit(77);
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(77);
    if (::mount("tmpfs", out().c_str(), "tmpfs", 0, "size=1m") != 0) ::_exit(77);
    auto file = sys::open(folder_.at("in.zip"), O_RDONLY).value();
    auto into = sys::open(out(), O_RDONLY | O_DIRECTORY).value();
    const auto package = unpack_zip(file, into, {});
    if (package.ok()) ::_exit(1);
    if (package.error().kind != ErrorKind::unavailable) ::_exit(2);
    if (package.error().message.find("the disk is full: no room to unpack \"big\"") == std::string::npos) ::_exit(3);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no right to mount a small disk";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace thaw::control
