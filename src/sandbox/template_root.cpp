#include "sandbox/template_root.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/sys.h"

namespace thaw::sandbox {
namespace {

constexpr std::size_t kCopiedFileBytesMax = 4 << 20;
constexpr std::uint64_t kReadOnly = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

// Where the tree grows before it becomes the root; covered in the builder's own namespace only.
constexpr const char* kBuildPlaces[] = {"/tmp", "/mnt", "/run", "/srv"};

constexpr const char* kFolders[] = {
    "/usr",
    "/etc",
    "/etc/ssl",
    "/etc/pki",
    "/proc",
    "/dev",
    "/tmp",
    "/var",
    "/var/task",
    "/var/runtime",
    "/var/empty",
    "/opt",
    "/opt/thaw",
    "/opt/ml",
    "/opt/ml/model",
    "/sys",
    "/sys/devices",
    "/sys/devices/system",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
};

// Links where the machine has links (a merged /usr), binds where it has folders.
constexpr const char* kTopLevel[] = {"/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"};

// Folders bound read-only when they are there. No secrets: /etc/ssl/private, shadow and ssh keys are not below these.
constexpr const char* kBoundFolders[] = {
    "/etc/ld.so.conf.d",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust",
    "/etc/pki/java",
    "/etc/crypto-policies",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/python3",
    "/etc/python3.9",
    "/etc/python3.10",
    "/etc/python3.11",
    "/etc/python3.12",
    "/etc/python3.13",
    "/etc/perl",
    "/etc/java-8-openjdk",
    "/etc/java-11-openjdk",
    "/etc/java-17-openjdk",
    "/etc/java-21-openjdk",
    "/etc/java",
    "/etc/node",
    "/etc/nodejs",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
};

// Small files copied when they are there; links stay links.
constexpr const char* kCopiedFiles[] = {
    "/etc/ld.so.cache", "/etc/ld.so.conf",     "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf",
    "/etc/localtime",   "/etc/timezone",       "/etc/mime.types",      "/etc/protocols",
    "/etc/services",    "/etc/os-release",     "/etc/gai.conf",        "/etc/host.conf",
    "/etc/magic",       "/etc/debian_version", "/etc/redhat-release",
};

constexpr struct {
  const char* path;
  unsigned major;
  unsigned minor;
} kDevices[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};

constexpr struct {
  const char* path;
  const char* target;
} kLinks[] = {{"/dev/fd", "/proc/self/fd"},       {"/dev/stdin", "/proc/self/fd/0"},
              {"/dev/stdout", "/proc/self/fd/1"}, {"/dev/stderr", "/proc/self/fd/2"},
              {"/etc/mtab", "/proc/self/mounts"}, {"/var/tmp", "/tmp"}};

Status bind(const std::string& source, const std::string& target) {
  const UniqueFd tree(
      ::open_tree(AT_FDCWD, source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_NO_AUTOMOUNT));
  if (!tree.valid()) return sys::errno_error("open_tree " + source);
  mount_attr attributes{.attr_set = kReadOnly, .attr_clr = 0, .propagation = MS_PRIVATE, .userns_fd = 0};
  if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes)) != 0) {
    return sys::errno_error("mount_setattr " + source + " (Linux 5.12 or newer is needed)");
  }
  if (::move_mount(tree.get(), "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return sys::errno_error("move_mount " + target);
  }
  return {};
}

class Builder {
 public:
  explicit Builder(const TemplateOptions& options) : options_(options) {}

  Status build() {
    RETURN_IF_ERROR(mount_root());
    for (const char* folder : kFolders) RETURN_IF_ERROR(make_folder(folder));
    RETURN_IF_ERROR(bind("/usr", at("/usr")));
    for (const char* path : kTopLevel) RETURN_IF_ERROR(add_top_level(path));
    RETURN_IF_ERROR(add_devices());
    for (const char* path : kBoundFolders) RETURN_IF_ERROR(bind_if_there(path));
    for (const char* path : kCopiedFiles) RETURN_IF_ERROR(copy_if_there(path));
    for (const auto& [path, target] : kLinks) RETURN_IF_ERROR(make_link(path, target));
    RETURN_IF_ERROR(add_etc());
    RETURN_IF_ERROR(add_stub());
    RETURN_IF_ERROR(make_read_only("/dev", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
    RETURN_IF_ERROR(make_read_only("", kReadOnly));
    return become_root();
  }

 private:
  std::string at(const std::string& path) const { return root_ + path; }

  Status mount_root() {
    if (::unshare(CLONE_NEWNS) != 0) return sys::errno_error("unshare the mount namespace");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return sys::errno_error("make / private");
    for (const char* place : kBuildPlaces) {
      if (::mount("tmpfs", place, "tmpfs", MS_NOSUID, "mode=755,size=32m,nr_inodes=8192") == 0) {
        root_ = place;
        return {};
      }
    }
    return sys::errno_error("mount the root tmpfs");
  }

  Status make_folder(const std::string& path) const {
    if (::mkdir(at(path).c_str(), 0755) != 0 && errno != EEXIST) return sys::errno_error("template " + path);
    return {};
  }

  Status make_link(const std::string& path, const std::string& target) const {
    if (::symlink(target.c_str(), at(path).c_str()) != 0) return sys::errno_error("template " + path);
    return {};
  }

  Status make_file(const std::string& path, std::string_view bytes, mode_t mode) const {
    ASSIGN_OR_RETURN(const UniqueFd file, sys::open(at(path), O_WRONLY | O_CREAT | O_EXCL, mode));
    RETURN_IF_ERROR(sys::write_all(file, bytes));
    if (::fchmod(file.get(), mode) != 0) return sys::errno_error("template " + path);
    return {};
  }

  Status add_top_level(const std::string& path) const {
    struct stat info;
    if (::lstat(path.c_str(), &info) != 0) return {};
    if (S_ISLNK(info.st_mode)) return copy_link(path);
    if (!S_ISDIR(info.st_mode)) return {};
    RETURN_IF_ERROR(make_folder(path));
    return bind(path, at(path));
  }

  Status copy_link(const std::string& path) const {
    char target[4096];
    const ssize_t size = ::readlink(path.c_str(), target, sizeof(target) - 1);
    if (size < 0) return sys::errno_error(path);
    return make_link(path, std::string(target, static_cast<std::size_t>(size)));
  }

  Status bind_if_there(const std::string& path) const {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return {};
    for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
      RETURN_IF_ERROR(make_folder(path.substr(0, slash)));
      if (slash == std::string::npos) break;
    }
    return bind(path, at(path));
  }

  Status copy_if_there(const std::string& path) const {
    struct stat info;
    if (::lstat(path.c_str(), &info) != 0) return {};
    if (S_ISLNK(info.st_mode)) return copy_link(path);
    const auto bytes = sys::read_file(path, kCopiedFileBytesMax);
    if (!bytes.ok()) return {};  // larger than it ever is, or unreadable: the function goes without
    const auto status = make_file(path, *bytes, 0444);
    if (!status.ok() && status.error().kind == ErrorKind::not_found) return {};
    return status;
  }

  Status add_devices() const {
    if (::mount("tmpfs", at("/dev").c_str(), "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k,nr_inodes=64") != 0) {
      return sys::errno_error("mount /dev");
    }
    RETURN_IF_ERROR(make_folder("/dev/shm"));
    for (const auto& device : kDevices) {
      const std::string path = at(device.path);
      if (::mknod(path.c_str(), S_IFCHR | 0666, ::makedev(device.major, device.minor)) != 0) {
        // In a user namespace devices can only be bound.
        if (errno != EPERM) return sys::errno_error(device.path);
        RETURN_IF_ERROR(make_file(device.path, "", 0666));
        const UniqueFd tree(::open_tree(AT_FDCWD, device.path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
        if (::move_mount(tree.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
          return sys::errno_error(device.path);
        }
      } else if (::chmod(path.c_str(), 0666) != 0) {
        return sys::errno_error(device.path);
      }
    }
    return {};
  }

  Status add_etc() const {
    std::string passwd = "root:x:0:0:root:/:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n";
    std::string group = "root:x:0:\nnogroup:x:65534:\n";
    for (std::uint32_t slot = 0; slot < options_.slots_max; ++slot) {
      const std::string id = std::to_string(options_.uid_base + slot);
      passwd += "f" + std::to_string(slot) + ":x:" + id + ":" + id + "::/tmp:/bin/sh\n";
      group += "f" + std::to_string(slot) + ":x:" + id + ":\n";
    }
    RETURN_IF_ERROR(make_file("/etc/passwd", passwd, 0444));
    RETURN_IF_ERROR(make_file("/etc/group", group, 0444));
    const std::string name = kHostName;
    RETURN_IF_ERROR(make_file("/etc/hostname", name + "\n", 0444));
    RETURN_IF_ERROR(make_file("/etc/hosts", "127.0.0.1 localhost " + name + "\n::1 localhost\n", 0444));
    // Slirp's name server (slirp4netns(1)). Without egress there is no way to it, and names fail at once.
    RETURN_IF_ERROR(make_file("/etc/resolv.conf", "nameserver 10.0.2.3\noptions timeout:2 attempts:2\n", 0444));
    return make_file("/etc/nsswitch.conf",
                     "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
                     "protocols: files\nservices: files\n",
                     0444);
  }

  Status add_stub() const {
    ASSIGN_OR_RETURN(const std::string bytes, sys::read_fd(options_.stub, kCopiedFileBytesMax, "thaw-stub"));
    return make_file(kStubPath, bytes, 0555);
  }

  Status make_read_only(const std::string& path, std::uint64_t attributes_set) const {
    mount_attr attributes{.attr_set = attributes_set, .attr_clr = 0, .propagation = 0, .userns_fd = 0};
    if (::mount_setattr(AT_FDCWD, at(path).c_str(), 0, &attributes, sizeof(attributes)) != 0) {
      return sys::errno_error("mount_setattr " + path);
    }
    return {};
  }

  Status become_root() const {
    if (::chdir(root_.c_str()) != 0) return sys::errno_error("chdir");
    // The old root ends up on top of the new one (pivot_root(2), "pivot_root(".", ".")"), and is taken off.
    if (::syscall(SYS_pivot_root, ".", ".") != 0) return sys::errno_error("pivot_root");
    if (::umount2(".", MNT_DETACH) != 0) return sys::errno_error("umount the old root");
    if (::chdir("/") != 0) return sys::errno_error("chdir");
    return {};
  }

  const TemplateOptions& options_;
  std::string root_;
};

[[noreturn]] void run_builder(const TemplateOptions& options, const UniqueFd& said, const UniqueFd& go) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const Status built = Builder(options).build();
  (void)sys::write_all(said, built.ok() ? "+" : "-" + built.error().message);
  // Stays until its namespace has been opened.
  char byte;
  (void)sys::read_some(go, {&byte, 1});
  ::_exit(0);
}

}  // namespace

Result<UniqueFd> build_template_root(const TemplateOptions& options) {
  ASSIGN_OR_RETURN(sys::Pipe said, sys::pipe());
  ASSIGN_OR_RETURN(sys::Pipe go, sys::pipe());
  const pid_t builder = ::fork();
  if (builder < 0) return sys::errno_error("fork");
  if (builder == 0) {
    go.write_end.reset();
    run_builder(options, said.write_end, go.read_end);
  }
  said.write_end.reset();
  char text[512];
  const auto size = sys::read_some(said.read_end, text);
  auto opened = sys::open("/proc/" + std::to_string(builder) + "/ns/mnt", O_RDONLY);
  go.write_end.reset();
  ::waitpid(builder, nullptr, 0);
  if (!size.ok() || *size == 0 || text[0] != '+') {
    const std::string why(text + 1, size.ok() && *size > 1 ? *size - 1 : 0);
    return Error{ErrorKind::unsupported, "the environments' file tree cannot be built: " + why};
  }
  return opened;
}

}  // namespace thaw::sandbox
