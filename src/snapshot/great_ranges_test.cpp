#include "snapshot/great_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

namespace thaw::snapshot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kMb = 1ULL << 20;
constexpr std::uint64_t kBase = 1ULL << 40;

Mapping anonymous(std::uint64_t start, std::uint64_t bytes, std::vector<AddressRange> parts) {
  Mapping mapping{.start = start, .end = start + bytes};
  mapping.kind = MappingKind::anonymous;
  mapping.flags = MAP_PRIVATE;
  for (const AddressRange& part : parts) mapping.runs.push_back({.start = part.start, .end = part.end});
  return mapping;
}

TEST(GreatRanges, AreLongAndOfWholeHugePages) {
  Image image;
  image.mappings.push_back(anonymous(kBase, 100 * kMb, {{kBase + 4096, kBase + 70 * kMb + 4096}}));
  image.mappings.push_back(anonymous(2 * kBase, 100 * kMb, {{2 * kBase, 2 * kBase + 63 * kMb}}));
  EXPECT_THAT(great_ranges(image), ElementsAre(AddressRange{kBase + 2 * kMb, kBase + 70 * kMb}));
}

TEST(GreatRanges, PagesOfZerosDoNotDivideThem) {
  Image image;
  image.mappings.push_back(
      anonymous(kBase, 100 * kMb, {{kBase, kBase + 40 * kMb}, {kBase + 41 * kMb, kBase + 80 * kMb}}));
  image.mappings.push_back(anonymous(
      2 * kBase, 100 * kMb, {{2 * kBase, 2 * kBase + 40 * kMb}, {2 * kBase + 42 * kMb, 2 * kBase + 80 * kMb}}));
  EXPECT_THAT(great_ranges(image), ElementsAre(AddressRange{kBase, kBase + 80 * kMb}));
}

TEST(GreatRanges, OnlyLazyMappingsHaveSome) {
  Image image;
  image.mappings.push_back(anonymous(kBase, 100 * kMb, {{kBase, kBase + 100 * kMb}}));
  image.mappings.back().locked = true;
  EXPECT_THAT(great_ranges(image), IsEmpty());
}

TEST(GreatRanges, AreTheLargestOfMany) {
  Image image;
  for (std::uint64_t i = 1; i <= 2 * kGreatRangesMax; ++i)
    image.mappings.push_back(anonymous(i * kBase, kBase, {{i * kBase, i * kBase + (64 + 2 * i) * kMb}}));
  const std::vector<AddressRange> great = great_ranges(image);
  ASSERT_EQ(great.size(), kGreatRangesMax);
  EXPECT_EQ(great.front().start, (kGreatRangesMax + 1) * kBase);
}

// ---- The filter, under the kernel ----

// What ask() gives in a process that has the filter.
int under_filter(const std::vector<AddressRange>& great, const std::function<int()>& ask) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<sock_filter> filter = memory_filter(great);
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
      ::_exit(255);
    ::_exit(ask());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int advise(std::uint64_t start, std::uint64_t bytes, int advice) {
  return ::madvise(reinterpret_cast<void*>(start), bytes, advice) == 0 ? 0 : errno;
}

class MemoryFilter : public testing::Test {
 protected:
  // Eight pages; the fourth and the fifth are great. Their addresses end in a high word that the range crosses.
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t kPlace = (0x2000ULL << 32) - 4 * kPage;  // no place of AddressSanitizer's

  void SetUp() override {
    void* const wanted = reinterpret_cast<void*>(kPlace);
    ASSERT_EQ(
        ::mmap(wanted, 8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
        wanted);
  }
  void TearDown() override { ::munmap(reinterpret_cast<void*>(kPlace), 8 * kPage); }

  static int give_back(std::uint64_t page, std::uint64_t count) {
    return under_filter(kGreat, [&] { return advise(kPlace + page * kPage, count * kPage, MADV_DONTNEED); });
  }

  static inline const std::vector<AddressRange> kGreat = {{kBase, kBase + kMb},
                                                          {kPlace + 3 * kPage, kPlace + 5 * kPage}};
};

TEST_F(MemoryFilter, GreatMemoryIsNotGivenBack) {
  EXPECT_EQ(give_back(0, 3), 0);
  EXPECT_EQ(give_back(0, 4), EINVAL);
  EXPECT_EQ(give_back(0, 8), EINVAL);
  EXPECT_EQ(give_back(3, 1), EINVAL);
  EXPECT_EQ(give_back(4, 1), EINVAL);
  EXPECT_EQ(give_back(4, 4), EINVAL);
  EXPECT_EQ(give_back(5, 3), 0);
  EXPECT_EQ(give_back(7, 1), 0);
}

TEST_F(MemoryFilter, OtherAdviceIsTaken) {
  EXPECT_EQ(under_filter(kGreat, [] { return advise(kPlace, 8 * kPage, MADV_WILLNEED); }), 0);
  EXPECT_EQ(under_filter(kGreat, [] { return advise(kPlace, 8 * kPage, MADV_FREE); }), EINVAL);
  EXPECT_EQ(under_filter({}, [] { return advise(kPlace, 8 * kPage, MADV_FREE); }), EINVAL);
  EXPECT_EQ(under_filter({}, [] { return advise(kPlace, 8 * kPage, MADV_DONTNEED); }), 0);
}

TEST_F(MemoryFilter, GreatMemoryDoesNotMove) {
  const auto move = [](std::uint64_t page, std::uint64_t count) {
    return under_filter(kGreat, [&] {
      void* const place = reinterpret_cast<void*>(kPlace + page * kPage);
      return ::mremap(place, count * kPage, (count + 1) * kPage, MREMAP_MAYMOVE) == MAP_FAILED ? errno : 0;
    });
  };
  EXPECT_EQ(move(0, 3), 0);
  EXPECT_EQ(move(2, 2), ENOMEM);
  EXPECT_EQ(move(4, 1), ENOMEM);
  EXPECT_EQ(move(5, 3), 0);
}

}  // namespace
}  // namespace thaw::snapshot
