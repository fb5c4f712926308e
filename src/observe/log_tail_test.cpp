#include "observe/log_tail.h"

#include <gtest/gtest.h>

namespace thaw::observe {
namespace {

TEST(LogTail, KeepsTheLastBytesOfManyLines) {
  LogTail tail;
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    all += line;
    tail.append(line);
  }
  EXPECT_EQ(tail.text(), all.substr(all.size() - kLogTailBytesMax));
}

TEST(LogTail, KeepsTheEndOfALineThatIsLongerThanItself) {
  LogTail tail;
  tail.append("before\n");
  tail.append("b" + std::string(kLogTailBytesMax, 'x'));
  EXPECT_EQ(tail.text(), std::string(kLogTailBytesMax - 1, 'x') + "\n");
}

TEST(LogTail, EndsEachLine) {
  LogTail tail;
  tail.append("");
  tail.append("one");
  tail.append("two\n");
  EXPECT_EQ(tail.text(), "one\ntwo\n");
}

}  // namespace
}  // namespace thaw::observe
