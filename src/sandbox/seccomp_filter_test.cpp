#include "sandbox/seccomp_filter.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace thaw::sandbox {
namespace {

// errno of a raw call made under the filter, 0 when it was allowed; in a child, for the filter stays.
int errno_under_filter(const std::vector<sock_filter>& filter, long number, long a = 0, long b = 0, long c = 0) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !install_seccomp_filter(filter).ok()) ::_exit(255);
    const long result = ::syscall(number, a, b, c, 0L, 0L);
    if (number == SYS_clone && result == 0) ::_exit(0);
    ::_exit(result < 0 ? errno : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

class SeccompFilter : public testing::Test {
 protected:
  void SetUp() override {
    auto compiled = compile_seccomp_filter();
    ASSERT_TRUE(compiled.ok()) << compiled.error().message;
    filter_ = std::move(compiled).value();
  }
  std::vector<sock_filter> filter_;
};

TEST_F(SeccompFilter, ForbiddenCallsAreRefused) {
  for (const long call : {SYS_mount, SYS_umount2, SYS_pivot_root, SYS_unshare, SYS_setns, SYS_bpf, SYS_keyctl,
                          SYS_perf_event_open, SYS_userfaultfd, SYS_kexec_load, SYS_init_module, SYS_reboot, SYS_swapon,
                          SYS_open_by_handle_at, SYS_move_mount, SYS_fsopen, SYS_syslog}) {
    EXPECT_EQ(errno_under_filter(filter_, call), EPERM) << call;
  }
  for (const long call : {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_clone3}) {
    EXPECT_EQ(errno_under_filter(filter_, call), ENOSYS) << call;
  }
}

TEST_F(SeccompFilter, CallsOfNewerKernelsAreAbsent) {
  EXPECT_EQ(errno_under_filter(filter_, SYS_set_mempolicy_home_node + 1), ENOSYS);
  EXPECT_EQ(errno_under_filter(filter_, 100'000), ENOSYS);
  EXPECT_EQ(errno_under_filter(filter_, 0x40000000 + SYS_getpid), ENOSYS);
}

TEST_F(SeccompFilter, NamespacesCannotBeMade) {
  for (const long flag : {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWUTS, CLONE_NEWIPC}) {
    EXPECT_EQ(errno_under_filter(filter_, SYS_clone, flag | SIGCHLD), EPERM) << flag;
  }
  EXPECT_EQ(errno_under_filter(filter_, SYS_clone, SIGCHLD), 0);
}

TEST_F(SeccompFilter, SocketsAreUnixInternetAndRouting) {
  for (const long family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}) {
    EXPECT_EQ(errno_under_filter(filter_, SYS_socket, family, SOCK_DGRAM, 0), 0) << family;
  }
  for (long family = 3; family < 50; ++family) {
    if (family == AF_INET6 || family == AF_NETLINK) continue;
    EXPECT_EQ(errno_under_filter(filter_, SYS_socket, family, SOCK_DGRAM, 0), EAFNOSUPPORT) << family;
  }
  EXPECT_EQ(errno_under_filter(filter_, SYS_socket, AF_NETLINK, SOCK_RAW, 9 /* NETLINK_AUDIT */), EAFNOSUPPORT);
}

TEST_F(SeccompFilter, ArgumentsAreComparedAsTheKernelReadsThem) {
  EXPECT_EQ(errno_under_filter(filter_, SYS_ioctl, 0, 0x5412), EPERM);
  // The kernel ignores the upper half; a filter that compares 64 bits would let this pass.
  EXPECT_EQ(errno_under_filter(filter_, SYS_ioctl, 0, 0x100005412L), EPERM);
  EXPECT_EQ(errno_under_filter(filter_, SYS_socket, AF_VSOCK | 0x100000000L, SOCK_DGRAM, 0), EAFNOSUPPORT);
}

TEST_F(SeccompFilter, WeakPersonalitiesAreRefused) {
  EXPECT_EQ(errno_under_filter(filter_, SYS_personality, ADDR_NO_RANDOMIZE), EPERM);
  EXPECT_EQ(errno_under_filter(filter_, SYS_personality, READ_IMPLIES_EXEC), EPERM);
  EXPECT_EQ(errno_under_filter(filter_, SYS_personality, 0), 0);
}

}  // namespace
}  // namespace thaw::sandbox
