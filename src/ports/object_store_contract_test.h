// What every ObjectStore keeps to. An adapter's test makes one over something that it fills, and runs this:
//
//   INSTANTIATE_TEST_SUITE_P(Folder, ObjectStoreContract, testing::Values(&make_folder_fixture));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <memory>
#include <numeric>
#include <string>

#include "base/sys.h"
#include "ports/object_store.h"

namespace thaw::ports {

// A store under test and a way to fill it from outside.
class StoreFixture {
 public:
  virtual ~StoreFixture() = default;
  virtual ObjectStore& store() = 0;
  // Puts an object there without the store's help; replaces.
  virtual void fill(const std::string& key, const std::string& contents) = 0;
  // Whether the store can list, and take objects in.
  virtual bool writes() const { return true; }
  virtual bool lists() const { return true; }
  // The page that the list's test asks for: few objects, unless the server behind the store cannot.
  virtual std::size_t page() const { return 2; }
};

using MakeFixture = std::unique_ptr<StoreFixture> (*)();

class ObjectStoreContract : public testing::TestWithParam<MakeFixture> {
 protected:
  void SetUp() override {
    fixture_ = GetParam()();
    if (fixture_ == nullptr) GTEST_SKIP() << "the server that this store needs is not installed";
  }

  ObjectStore& store() { return fixture_->store(); }
  void fill(const std::string& key, const std::string& contents) { fixture_->fill(key, contents); }

  Result<std::string> read(ObjectRange range, std::uint64_t bytes) {
    range.bytes = bytes;
    std::string got;
    RETURN_IF_ERROR(store().read(range, into(got), Call()));
    return got;
  }

  static PieceSink into(std::string& text) {
    return [&text](std::span<const std::byte> piece) {
      text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      return Status();
    };
  }

  static std::string pattern(std::size_t bytes) {
    std::string text(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>((i * 2654435761U) >> 13);
    return text;
  }

  static UniqueFd file_of(const std::string& contents) {
    UniqueFd fd(::memfd_create("object", MFD_CLOEXEC));
    EXPECT_TRUE(sys::write_all(fd, contents).ok());
    return fd;
  }

  std::unique_ptr<StoreFixture> fixture_;
};

TEST_P(ObjectStoreContract, HeadTellsSizeAndAnETagThatChangesWithTheContents) {
  fill("dir/model.bin", pattern(1000));
  const auto before = store().head("dir/model.bin", Call());
  ASSERT_TRUE(before.ok()) << before.error().message;
  EXPECT_EQ(before->bytes, 1000U);
  EXPECT_FALSE(before->etag.empty());
  fill("dir/model.bin", pattern(999) + "x");
  const auto after = store().head("dir/model.bin", Call());
  ASSERT_TRUE(after.ok());
  EXPECT_NE(before->etag, after->etag);
}

TEST_P(ObjectStoreContract, RangesAreExact) {
  const std::string contents = pattern(300000);
  fill("model.bin", contents);
  for (const auto& [offset, bytes] :
       {std::pair<std::size_t, std::size_t>{0, 300000}, {1, 1}, {299999, 1}, {65535, 131074}}) {
    const auto got = read({.key = "model.bin", .offset = offset}, bytes);
    ASSERT_TRUE(got.ok()) << got.error().message;
    EXPECT_TRUE(*got == contents.substr(offset, bytes)) << offset;
  }
}

TEST_P(ObjectStoreContract, ARangeBehindTheEndIsAConflict) {
  fill("model.bin", pattern(1000));
  EXPECT_EQ(read({.key = "model.bin", .offset = 1000}, 1).error().kind, ErrorKind::conflict);
}

TEST_P(ObjectStoreContract, AnotherETagIsAConflict) {
  fill("model.bin", pattern(1000));
  const std::string etag = store().head("model.bin", Call())->etag;
  EXPECT_TRUE(read({.key = "model.bin", .if_match = etag}, 1000).ok());
  fill("model.bin", pattern(999) + "x");
  const auto got = read({.key = "model.bin", .if_match = etag}, 1000);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().kind, ErrorKind::conflict) << got.error().message;
}

TEST_P(ObjectStoreContract, ASinksErrorEndsTheRead) {
  fill("model.bin", pattern(300000));
  const PieceSink refuses = [](std::span<const std::byte>) -> Status { return Error{ErrorKind::too_large, "full"}; };
  const Status done = store().read({.key = "model.bin", .bytes = 300000}, refuses, Call());
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().message, "full");
}

TEST_P(ObjectStoreContract, WhatIsNotThereIsNotFound) {
  EXPECT_EQ(store().head("none.bin", Call()).error().kind, ErrorKind::not_found);
  EXPECT_EQ(read({.key = "none.bin"}, 1).error().kind, ErrorKind::not_found);
}

TEST_P(ObjectStoreContract, KeysOfAllKindsAreKept) {
  for (const std::string key : {"a b/ü+&=?#%25.bin", "plus+plus", "tilde~(paren)'quote'", "a:b@c,d;e$f!g*h"}) {
    fill(key, key);
    const auto got = read({.key = key}, key.size());
    ASSERT_TRUE(got.ok()) << key << ": " << got.error().message;
    EXPECT_EQ(*got, key);
  }
}

TEST_P(ObjectStoreContract, ACancelledCallEnds) {
  fill("model.bin", pattern(1000));
  const std::atomic<bool> cancelled{true};
  std::string got;
  const Status done = store().read({.key = "model.bin", .bytes = 1000}, into(got), {.cancelled = &cancelled});
  // Small answers may have come before anyone looked.
  EXPECT_TRUE(done.ok() || done.error().code == "Fetch.Cancelled");
}

TEST_P(ObjectStoreContract, ACallAfterItsDeadlineTimesOut) {
  fill("model.bin", pattern(1000));
  std::string got;
  const Status done = store().read({.key = "model.bin", .bytes = 1000}, into(got),
                                   {.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1)});
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().kind, ErrorKind::timeout);
}

TEST_P(ObjectStoreContract, ListGivesEveryObjectBelowThePrefixInPages) {
  if (!fixture_->lists()) GTEST_SKIP();
  for (const char* key : {"m/a", "m/b/c", "m/b/d", "m/z", "n/a", "m-not"}) fill(key, "12345");
  std::vector<std::string> keys;
  ObjectList list{.prefix = "m/", .count_max = fixture_->page()};
  for (int pages = 0; pages < 10; ++pages) {
    const auto page = store().list(list, Call());
    ASSERT_TRUE(page.ok()) << page.error().message;
    EXPECT_LE(page->objects.size(), list.count_max);
    for (const ObjectInfo& info : page->objects) {
      keys.push_back(info.key);
      EXPECT_EQ(info.bytes, 5U);
      const auto head = store().head(info.key, Call());
      ASSERT_TRUE(head.ok());
      EXPECT_EQ(head->etag, info.etag) << "a list's ETag is good for If-Match";
    }
    list.after = page->next;
    if (page->next.empty()) break;
  }
  EXPECT_THAT(keys, testing::ElementsAre("m/a", "m/b/c", "m/b/d", "m/z"));
}

TEST_P(ObjectStoreContract, PutStoresWholeAndReplaces) {
  if (!fixture_->writes()) {
    const UniqueFd file = file_of("x");
    EXPECT_EQ(store().put({.key = "x", .bytes = 1}, file, Call()).error().kind, ErrorKind::unsupported);
    return;
  }
  for (const std::string& contents : {pattern(200000), pattern(10)}) {
    const UniqueFd file = file_of(contents);
    std::uint64_t told = 0;
    const ObjectUpload upload{"new/dir/m.bin", contents.size(), [&](std::uint64_t sent) { told = sent; }};
    const auto put = store().put(upload, file, Call());
    ASSERT_TRUE(put.ok()) << put.error().message;
    EXPECT_EQ(told, contents.size());
    const auto head = store().head("new/dir/m.bin", Call());
    ASSERT_TRUE(head.ok());
    EXPECT_EQ(head->bytes, contents.size());
    EXPECT_EQ(*read({.key = "new/dir/m.bin", .if_match = head->etag}, contents.size()), contents);
  }
}

TEST_P(ObjectStoreContract, RemoveRemoves) {
  if (!fixture_->writes()) return;
  fill("gone.bin", "x");
  ASSERT_TRUE(store().remove("gone.bin", Call()).ok());
  EXPECT_EQ(store().head("gone.bin", Call()).error().kind, ErrorKind::not_found);
  EXPECT_EQ(store().remove("gone.bin", Call()).error().kind, ErrorKind::not_found);
}

}  // namespace thaw::ports
