#include "control/function_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <thread>

namespace thaw::control {
namespace {

model::FunctionRecord record(const std::string& name, const std::string& sha) {
  model::FunctionRecord record;
  record.config.name = name;
  record.config.command = {"python3", "-m", "uvicorn", "app:app", "--port", "${PORT}"};
  record.code_sha256 = sha;
  record.revision_id = "3f6e9b1c-3a3b-4c1d-9a7e-0f1e2d3c4b5a";
  record.last_modified = "2026-01-31T12:00:00.000+0000";
  return record;
}

std::string digest(int number) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(64, '0');
  for (std::size_t i = 0; number > 0; ++i, number /= 16) text[i] = kDigits[number % 16];
  return text;
}

TEST(FunctionIndex, ReferencesFollowTheRecords) {
  FunctionIndex index;
  EXPECT_FALSE(index.references(digest(1)));
  EXPECT_EQ(index.put(record("a", digest(1))), nullptr);
  index.put(record("b", digest(1)));
  EXPECT_EQ(index.put(record("A", digest(2)))->config.name, "a");
  EXPECT_TRUE(index.references(digest(1)));
  EXPECT_TRUE(index.references(digest(2)));
  index.erase("B");
  EXPECT_FALSE(index.references(digest(1)));
  EXPECT_EQ(index.count(), 1U);
  EXPECT_EQ(index.erase("none"), nullptr);
}

TEST(FunctionIndex, MarkerMayNameAFunctionThatIsGone) {
  FunctionIndex index;
  for (const char* name : {"a", "c", "e"}) index.put(record(name, digest(1)));
  EXPECT_EQ(index.list("B", 1).functions.at(0).config.name, "c");
  EXPECT_EQ(index.list("C", 1).functions.at(0).config.name, "e");
  EXPECT_TRUE(index.list("e", 1).functions.empty());
  EXPECT_TRUE(index.list("e", 1).next_marker.empty());
  EXPECT_EQ(index.list("", 2).next_marker, "c");
  EXPECT_EQ(index.list("", 3).next_marker, "");
}

TEST(FunctionIndex, TenThousandFunctionsCostAQuarterOfTheBoundAtMost) {
  const auto used = [] { return ::mallinfo2().uordblks; };
  const std::size_t before = used();
  FunctionIndex index;
  for (int i = 0; i < 10000; ++i) index.put(record("function-number-" + std::to_string(i), digest(i)));
  const std::size_t cost = used() - before;
  if (used() == 0) GTEST_SKIP() << "another allocator, which does not count";
  RecordProperty("bytes_per_function", static_cast<int>(cost / 10000));
  std::printf("%zu bytes a function\n", cost / 10000);
  EXPECT_LT(cost, 25U << 20);  // a quarter of what the daemon may take for ten thousand idle functions
  EXPECT_NE(index.find("FUNCTION-NUMBER-9999"), nullptr);
}

TEST(FunctionIndex, ReadersSeeTheOldRecordOrTheNewOne) {
  FunctionIndex index;
  index.put(record("a", digest(1)));
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      while (!stop) {
        const auto found = index.find("A");
        ASSERT_NE(found, nullptr);
        ASSERT_TRUE(found->code_sha256 == digest(1) || found->code_sha256 == digest(2));
      }
    });
  }
  for (int i = 0; i < 2000; ++i) index.put(record("a", digest(1 + i % 2)));
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace thaw::control
