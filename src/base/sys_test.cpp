#include "base/sys.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace thaw::sys {
namespace {

TEST(PwriteAll, IntoTheMemoryOfAProcessThatHasEndedIsAnErrorAndNoLoop) {
  static char byte = 'a';
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const auto memory = open("/proc/" + std::to_string(child) + "/mem", O_RDWR);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  EXPECT_TRUE(pwrite_all(*memory, "b", reinterpret_cast<off_t>(&byte)).ok());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(pwrite_all(*memory, "c", reinterpret_cast<off_t>(&byte)).ok());
  EXPECT_EQ(byte, 'a');
}

}  // namespace
}  // namespace thaw::sys
