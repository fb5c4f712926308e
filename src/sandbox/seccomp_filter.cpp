#include "sandbox/seccomp_filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

#include "base/sys.h"

namespace thaw::sandbox {
namespace {

using Context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

// Refused with EPERM whatever the arguments. By name: not every architecture has every call.
constexpr const char* kDenied[] = {
    // Mounts and namespaces.
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "setns",
    "unshare",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "open_by_handle_at",
    "name_to_handle_at",
    // The kernel itself.
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "query_module",
    "get_kernel_syms",
    "reboot",
    "swapon",
    "swapoff",
    "syslog",
    "iopl",
    "ioperm",
    "acct",
    "quotactl",
    "quotactl_fd",
    "nfsservctl",
    "vm86",
    "vm86old",
    "lookup_dcookie",
    "fanotify_init",
    "kcmp",
    "_sysctl",
    "sysfs",
    "ustat",
    "uselib",
    "vhangup",
    // Keys are not namespaced by user here.
    "add_key",
    "request_key",
    "keyctl",
    // The machine's clock, name and accounting.
    "settimeofday",
    "stime",
    "clock_settime",
    "clock_settime64",
    "clock_adjtime",
    "clock_adjtime64",
    "adjtimex",
    "sethostname",
    "setdomainname",
    // Memory placement of other processes.
    "move_pages",
    "migrate_pages",
};

// Refused as if the kernel did not have them, so that programs fall back.
constexpr const char* kAbsent[] = {
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    // Its flags are behind a pointer, where a filter cannot look; the C libraries then use clone.
    "clone3",
};

constexpr std::uint64_t kNamespaceFlags[] = {CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,   CLONE_NEWUSER,
                                             CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP};

// Personalities that weaken a process (personality(2)).
constexpr std::uint64_t kPersonalityFlags[] = {ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO, ADDR_COMPAT_LAYOUT, READ_IMPLIES_EXEC,
                                               STICKY_TIMEOUTS};

// Terminal requests that type for somebody else (ioctl_console(2), ioctl_tty(2)).
constexpr std::uint64_t kTerminalRequests[] = {0x5412 /* TIOCSTI */, 0x541C /* TIOCLINUX */};

Status add(const Context& context, std::uint32_t action, int call, const std::vector<scmp_arg_cmp>& arguments) {
  const int failed =
      ::seccomp_rule_add_array(context.get(), action, call, static_cast<unsigned>(arguments.size()), arguments.data());
  if (failed != 0) return sys::errno_error("seccomp rule for call " + std::to_string(call), -failed);
  return {};
}

Status add_names(const Context& context, std::uint32_t action, std::span<const char* const> names) {
  for (const char* name : names) {
    const int call = ::seccomp_syscall_resolve_name(name);
    if (call == __NR_SCMP_ERROR || call < 0) continue;  // not of this architecture
    RETURN_IF_ERROR(add(context, action, call, {}));
  }
  return {};
}

// All 64 bits of the arguments are compared here: a family with upper bits set, which the kernel would ignore, is
// greater than AF_NETLINK and refused.
//
// Unix, IPv4, IPv6 and the routing netlink (getifaddrs); others are kernel surface that no function needs.
Status add_socket_rules(const Context& context) {
  const std::uint32_t refused = SCMP_ACT_ERRNO(EAFNOSUPPORT);
  constexpr std::uint64_t kAllowed[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
  const int call = SCMP_SYS(socket);
  for (std::uint64_t family = 0; family <= AF_NETLINK; ++family) {
    if (std::find(std::begin(kAllowed), std::end(kAllowed), family) != std::end(kAllowed)) continue;
    RETURN_IF_ERROR(add(context, refused, call, {SCMP_A0_32(SCMP_CMP_EQ, family)}));
  }
  RETURN_IF_ERROR(add(context, refused, call, {SCMP_A0_32(SCMP_CMP_GT, AF_NETLINK)}));
  return add(context, refused, call, {SCMP_A0_32(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2_32(SCMP_CMP_NE, 0)});
}

Status add_argument_rules(const Context& context) {
  const std::uint32_t refused = SCMP_ACT_ERRNO(EPERM);
  for (const std::uint64_t flag : kNamespaceFlags) {
    RETURN_IF_ERROR(add(context, refused, SCMP_SYS(clone), {SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)}));
  }
  for (const std::uint64_t flag : kPersonalityFlags) {
    RETURN_IF_ERROR(add(context, refused, SCMP_SYS(personality), {SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag)}));
  }
  for (const std::uint64_t request : kTerminalRequests) {
    // The kernel looks at 32 bits of the request, so the filter must ignore the others. SCMP_CMP_EQ would not.
    RETURN_IF_ERROR(add(context, refused, SCMP_SYS(ioctl), {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffU, request)}));
  }
  return add_socket_rules(context);
}

Result<std::vector<sock_filter>> exported(const Context& context) {
  const UniqueFd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file.valid()) return sys::errno_error("memfd_create");
  const int failed = ::seccomp_export_bpf(context.get(), file.get());
  if (failed != 0) return sys::errno_error("seccomp_export_bpf", -failed);
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  if (size <= 0 || size % static_cast<off_t>(sizeof(sock_filter)) != 0) return internal_error("seccomp filter size");
  std::vector<sock_filter> filter(static_cast<std::size_t>(size) / sizeof(sock_filter));
  if (::pread(file.get(), filter.data(), static_cast<std::size_t>(size), 0) != size) return sys::errno_error("pread");
  return filter;
}

// Calls newer than the list are refused as absent: a deny-list must not open what its writer never saw. libseccomp has
// no comparison for the number, so these three instructions come first. x32's calls are from 0x40000000 and are
// refused by the rest of the filter.
constexpr std::uint32_t kNewestCall = __NR_set_mempolicy_home_node;
constexpr std::uint32_t kX32Calls = 0x40000000;
void prepend_newer_calls_are_absent(std::vector<sock_filter>& filter) {
  const sock_filter guard[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32Calls, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kNewestCall, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
  filter.insert(filter.begin(), std::begin(guard), std::end(guard));
}

}  // namespace

Result<std::vector<sock_filter>> compile_seccomp_filter() {
  const Context context(::seccomp_init(SCMP_ACT_ALLOW), &::seccomp_release);
  if (context == nullptr) return internal_error("seccomp_init");
  // 32-bit and x32 calls have other numbers: as if the kernel were built without them.
  int failed = ::seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
  // A binary tree, not a list: every call of a function passes through here.
  if (failed == 0) failed = ::seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  if (failed != 0) return sys::errno_error("seccomp_attr_set", -failed);
  RETURN_IF_ERROR(add_names(context, SCMP_ACT_ERRNO(EPERM), kDenied));
  RETURN_IF_ERROR(add_names(context, SCMP_ACT_ERRNO(ENOSYS), kAbsent));
  RETURN_IF_ERROR(add_argument_rules(context));
  ASSIGN_OR_RETURN(std::vector<sock_filter> filter, exported(context));
  prepend_newer_calls_are_absent(filter);
  return filter;
}

Status install_seccomp_filter(const std::vector<sock_filter>& filter) {
  const sock_fprog program{.len = static_cast<unsigned short>(filter.size()),
                           .filter = const_cast<sock_filter*>(filter.data())};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) return sys::errno_error("seccomp");
  return {};
}

}  // namespace thaw::sandbox
