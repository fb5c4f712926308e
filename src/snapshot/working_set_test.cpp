#include "snapshot/working_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sys.h"

namespace thaw::snapshot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Range = AddressRange;

UniqueFd new_file() { return UniqueFd(::memfd_create("working set", MFD_CLOEXEC)); }

TEST(WorkingSet, KeepsTheOrderOfUse) {
  const UniqueFd file = new_file();
  EXPECT_THAT(read_working_set(file).ranges, IsEmpty());
  const std::vector<Range> first{{0x7000, 0x9000}, {0x1000, 0x2000}};
  ASSERT_TRUE(add_lesson(file, first).ok());
  const std::vector<Range> second{{0x3000, 0x4000}};
  ASSERT_TRUE(add_lesson(file, second).ok());
  const WorkingSet set = read_working_set(file);
  EXPECT_EQ(set.lessons, 2U);
  EXPECT_THAT(set.ranges, ElementsAre(Range{0x7000, 0x9000}, Range{0x1000, 0x2000}, Range{0x3000, 0x4000}));
}

TEST(WorkingSet, KnowsWhatIsWritten) {
  const UniqueFd file = new_file();
  const std::vector<Range> touched{{0x7000, 0x9000}, {0x1000, 0x2000}};
  ASSERT_TRUE(add_lesson(file, touched, std::vector<Range>{{0x8000, 0x9000}}).ok());
  ASSERT_TRUE(add_lesson(file, {}, std::vector<Range>{{0x3000, 0x4000}, {0x9000, 0xa000}}).ok());
  const WorkingSet set = read_working_set(file);
  EXPECT_THAT(set.ranges, ElementsAre(Range{0x7000, 0x9000}, Range{0x1000, 0x2000}));
  EXPECT_THAT(set.written, ElementsAre(Range{0x3000, 0x4000}, Range{0x8000, 0xa000}));
}

TEST(WorkingSet, IsBounded) {
  const UniqueFd file = new_file();
  const std::vector<Range> much(kWorkingSetRangesMax, Range{0x1000, 0x2000});
  ASSERT_TRUE(add_lesson(file, much).ok());
  ASSERT_TRUE(add_lesson(file, much).ok());
  EXPECT_EQ(read_working_set(file).ranges.size(), kWorkingSetRangesMax);
}

TEST(WorkingSet, WhatMakesNoSenseIsPassedOver) {
  const UniqueFd file = new_file();
  const std::vector<Range> odd{{0x1001, 0x2000}, {0x3000, 0x3000}, {0x9000, 0x8000}, {0x4000, 0x5000}};
  ASSERT_TRUE(add_lesson(file, odd).ok());
  EXPECT_THAT(read_working_set(file).ranges, ElementsAre(Range{0x4000, 0x5000}));
  // A count beyond the end of the file.
  ASSERT_EQ(::ftruncate(file.get(), 40), 0);
  EXPECT_THAT(read_working_set(file).ranges, IsEmpty());
  ASSERT_TRUE(sys::pwrite_all(file, "nonsense", 0).ok());
  EXPECT_EQ(read_working_set(file).lessons, 0U);
  EXPECT_THAT(read_working_set(UniqueFd()).ranges, IsEmpty());
}

}  // namespace
}  // namespace thaw::snapshot
