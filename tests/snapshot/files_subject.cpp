// Files: deleted ones, and everything that lies in the folders of an environment; see subject.h.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "subject.h"

namespace {

using subject::expect;
using subject::require;

constexpr std::size_t kPage = 4096;

int write_file(const char* path, const char* text, int flags = O_RDWR | O_CREAT, mode_t mode = 0600) {
  const int file = ::open(path, flags, mode);
  require(file >= 0, path);
  require(::write(file, text, std::strlen(text)) == static_cast<ssize_t>(std::strlen(text)), path);
  return file;
}

std::string text_of(int file) {
  char bytes[256] = {};
  const ssize_t size = ::pread(file, bytes, sizeof(bytes), 0);
  return {bytes, size > 0 ? static_cast<std::size_t>(size) : 0};
}

std::string text_of(const char* path) {
  const int file = ::open(path, O_RDONLY);
  std::string text = text_of(file);
  ::close(file);
  return text;
}

std::string link_of(const std::string& path) {
  char target[PATH_MAX] = {};
  const ssize_t size = ::readlink(path.c_str(), target, sizeof(target) - 1);
  return {target, size > 0 ? static_cast<std::size_t>(size) : 0};
}

struct stat status_of(const char* path) {
  struct stat status {};
  expect(::lstat(path, &status) == 0, std::string(path) + " is not there");
  return status;
}

// ---- Files without a name ----

struct {
  int named_once = -1;
  int other = -1;  // another description of the same file
  int never_named = -1;
  int in_shared = -1;
  int elsewhere = -1;
  char* view = nullptr;
  char* own = nullptr;
} deleted;

void make_deleted() {
  deleted.named_once = write_file("/tmp/once", "something that had a name");
  deleted.other = ::open("/tmp/once", O_RDONLY);
  require(::ftruncate(deleted.named_once, 3 * kPage) == 0, "ftruncate");
  deleted.view =
      static_cast<char*>(::mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, deleted.named_once, 0));
  deleted.own =
      static_cast<char*>(::mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, deleted.named_once, 0));
  require(deleted.view != MAP_FAILED && deleted.own != MAP_FAILED, "mmap");
  deleted.view[2 * kPage] = 'v';
  deleted.own[0] = 'O';
  require(::fchmod(deleted.named_once, 0640) == 0 && ::unlink("/tmp/once") == 0, "unlink");
  require(::lseek(deleted.named_once, 7, SEEK_SET) == 7, "lseek");
  deleted.never_named = write_file("/tmp", "nobody ever named it", O_RDWR | O_TMPFILE);
  deleted.in_shared = write_file("/dev/shm/segment", "a segment");
  require(::unlink("/dev/shm/segment") == 0, "unlink");
  char path[] = "/var/tmp/thaw-subject-XXXXXX";
  deleted.elsewhere = ::mkstemp(path);
  require(deleted.elsewhere >= 0 && ::unlink(path) == 0 && ::write(deleted.elsewhere, "elsewhere", 9) == 9, path);
}

void check_deleted() {
  expect(text_of(deleted.named_once).starts_with("something that had a name"), "what it holds");
  expect(::lseek(deleted.named_once, 0, SEEK_CUR) == 7, "the position");
  expect(::lseek(deleted.other, 0, SEEK_CUR) == 0, "the position of the other description");
  struct stat status {};
  ::fstat(deleted.named_once, &status);
  expect(status.st_nlink == 0 && status.st_size == 3 * kPage && (status.st_mode & 07777) == 0640,
         "that it has no name; its size and mode");
  expect(deleted.view[2 * kPage] == 'v' && deleted.own[2 * kPage] == 'v' && deleted.own[0] == 'O', "its mappings");
  deleted.view[kPage] = 'n';
  char seen = 0;
  expect(::pread(deleted.other, &seen, 1, kPage) == 1 && seen == 'n' && deleted.own[kPage] == 'n',
         "that mappings and descriptors are of one file");
  expect(text_of(deleted.never_named) == "nobody ever named it", "a file made without a name");
  expect(::linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(deleted.never_named)).c_str(), AT_FDCWD, "/tmp/named",
                  AT_SYMLINK_FOLLOW) == 0 &&
             text_of("/tmp/named") == "nobody ever named it",
         "that it can be given one");
  expect(text_of(deleted.in_shared) == "a segment", "a file of /dev/shm");
  expect(text_of(deleted.elsewhere) == "elsewhere", "a file of another folder");
}

// ---- The tree of an environment's own folders ----

constexpr off_t kFarAway = 1LL << 30;

struct {
  int journal = -1;  // open for appending
  int reader = -1;
  int folder = -1;
  char* view = nullptr;
} tree;

void make_tree() {
  ::umask(027);
  require(::mkdir("/tmp/cache", 0755) == 0 && ::mkdir("/tmp/cache/deep", 0700) == 0, "mkdir");
  require(::mkdir("/tmp/sticky", 0755) == 0 && ::chmod("/tmp/sticky", 01775) == 0, "mkdir");
  tree.journal = write_file("/tmp/cache/journal", "one\n", O_WRONLY | O_CREAT | O_APPEND, 0640);
  tree.reader = ::open("/tmp/cache/journal", O_RDONLY);
  require(::lseek(tree.reader, 2, SEEK_SET) == 2, "lseek");
  require(::link("/tmp/cache/journal", "/tmp/cache/deep/same") == 0, "link");
  require(::symlink("../journal", "/tmp/cache/deep/pointer") == 0 && ::symlink("/nowhere", "/tmp/dangling") == 0,
          "symlink");
  const int sparse = ::open("/tmp/sparse", O_RDWR | O_CREAT, 0600);
  require(::pwrite(sparse, "far", 3, kFarAway) == 3 && ::ftruncate(sparse, kFarAway + kPage + 5) == 0, "a sparse file");
  ::close(sparse);
  ::close(write_file("/tmp/tool", "#!/bin/sh\n", O_RDWR | O_CREAT, 0700));
  require(::chmod("/tmp/tool", 04755) == 0 && ::mkfifo("/tmp/fifo", 0620) == 0, "fifo");
  ::close(::open("/tmp/empty", O_RDWR | O_CREAT, 0400));
  const int old = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{AF_UNIX, "/tmp/nobody-listens"};
  require(::bind(old, reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0, "bind");
  ::close(old);
  const int segment = write_file("/dev/shm/counter", "shared");
  require(::ftruncate(segment, 2 * kPage) == 0, "ftruncate");
  tree.view = static_cast<char*>(::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, segment, 0));
  ::close(segment);
  tree.view[kPage] = 's';
  tree.folder = ::open("/tmp/cache", O_RDONLY | O_DIRECTORY);
  require(::chdir("/tmp/cache/deep") == 0, "chdir");
  for (const char* path : {"/tmp/cache/journal", "/tmp/sticky", "/tmp/cache/deep", "/tmp/fifo"}) {
    const timespec times[2] = {{1'000'000'000, 5}, {1'234'567'890, 123'456'789}};
    require(::utimensat(AT_FDCWD, path, times, 0) == 0, "times");
  }
}

void check_entries() {
  struct stat status = status_of("/tmp/cache/journal");
  expect(status.st_nlink == 2 && status.st_ino == status_of("/tmp/cache/deep/same").st_ino,
         "that two names are one file");
  for (const char* path : {"/tmp/cache/journal", "/tmp/sticky", "/tmp/cache/deep", "/tmp/fifo"}) {
    status = status_of(path);
    expect(status.st_mtim.tv_sec == 1'234'567'890 && status.st_mtim.tv_nsec == 123'456'789,
           std::string("the time of ") + path);
  }
  const struct {
    const char* path;
    mode_t mode;
  } modes[] = {{"/tmp/cache", S_IFDIR | 0750},   {"/tmp/cache/deep", S_IFDIR | 0700},
               {"/tmp/sticky", S_IFDIR | 01775}, {"/tmp/cache/journal", S_IFREG | 0640},
               {"/tmp/tool", S_IFREG | 04755},   {"/tmp/fifo", S_IFIFO | 0600},
               {"/tmp/empty", S_IFREG | 0400},   {"/tmp/dangling", S_IFLNK | 0777}};
  for (const auto& [path, mode] : modes) {
    status = status_of(path);
    expect(status.st_mode == mode, std::string("the mode of ") + path);
    expect(status.st_uid == ::getuid() && status.st_gid == ::getgid(), std::string("the owner of ") + path);
  }
  expect(link_of("/tmp/cache/deep/pointer") == "../journal" && link_of("/tmp/dangling") == "/nowhere", "links");
  status = status_of("/tmp/sparse");
  expect(status.st_size == kFarAway + static_cast<off_t>(kPage) + 5 && status.st_blocks * 512 <= 16 * 4096,
         "a sparse file");
  const int sparse = ::open("/tmp/sparse", O_RDONLY);
  char far[4] = {};
  expect(::pread(sparse, far, 3, kFarAway) == 3 && std::strcmp(far, "far") == 0, "the end of a sparse file");
  ::close(sparse);
}

void check_tree() {
  check_entries();
  expect((::umask(027)) == 027, "umask");
  expect(link_of("/proc/self/cwd") == "/tmp/cache/deep", "the working directory");
  expect(text_of("pointer") == "one\n" && text_of("/tmp/tool") == "#!/bin/sh\n", "what files hold");
  expect(::write(tree.journal, "two\n", 4) == 4 && text_of("/tmp/cache/deep/same") == "one\ntwo\n",
         "a file that is open for appending");
  char rest[16] = {};
  expect(::read(tree.reader, rest, sizeof(rest)) == 6 && std::strcmp(rest, "e\ntwo\n") == 0, "where a reader is");
  expect(std::memcmp(tree.view, "shared", 7) == 0 && tree.view[kPage] == 's', "a mapped file");
  tree.view[0] = 'S';
  expect(text_of("/dev/shm/counter").starts_with("Shared"), "that a mapping writes to its file");
  expect(::faccessat(tree.folder, "journal", R_OK, 0) == 0, "an open folder");
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{AF_UNIX, "/tmp/nobody-listens"};
  expect(::connect(socket, reinterpret_cast<sockaddr*>(&name), sizeof(name)) != 0 && errno == ECONNREFUSED,
         "the name of a socket that is gone");
  const int temporary = ::open("/tmp/cache/new", O_RDWR | O_CREAT | O_EXCL, 0600);
  expect(temporary >= 0, "a new file");
}

// ---- Locks ----

int locked[3] = {-1, -1, -1};

bool set_range(int file, int command, short type, off_t start, off_t length) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = start;
  range.l_len = length;
  return ::fcntl(file, command, &range) == 0;
}

void make_locks() {
  locked[0] = write_file("/tmp/flock", "0");
  locked[1] = write_file("/tmp/process", "0123456789");
  locked[2] = write_file("/tmp/description", "0123456789");
  require(::flock(locked[0], LOCK_EX) == 0, "flock");
  require(set_range(locked[1], F_SETLK, F_WRLCK, 2, 3) && set_range(locked[1], F_SETLK, F_RDLCK, 8, 0), "F_SETLK");
  require(set_range(locked[2], F_OFD_SETLK, F_WRLCK, 4, 0), "F_OFD_SETLK");
}

// Another process finds these bytes locked.
bool is_locked(const char* path, off_t start, off_t length, short type) {
  const pid_t child = ::fork();
  if (child == 0) {
    const int file = ::open(path, O_RDWR);
    ::_exit(set_range(file, F_SETLK, type, start, length) ? 1 : 0);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && status == 0;
}

void check_locks() {
  const int other = ::open("/tmp/flock", O_RDWR);
  expect(::flock(other, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK, "a lock of flock");
  expect(::flock(locked[0], LOCK_UN) == 0 && ::flock(other, LOCK_EX | LOCK_NB) == 0, "that it can be given up");
  expect(is_locked("/tmp/process", 4, 1, F_RDLCK) && is_locked("/tmp/process", 100, 1, F_WRLCK),
         "locks of the process");
  expect(!is_locked("/tmp/process", 5, 3, F_WRLCK) && !is_locked("/tmp/process", 8, 1, F_RDLCK),
         "that the rest is free");
  expect(is_locked("/tmp/description", 4, 1, F_RDLCK) && !is_locked("/tmp/description", 0, 4, F_WRLCK),
         "the lock of a description");
}

// ---- Libraries that were unpacked into /tmp; some programs delete them once they are loaded ----

using Function = double (*)(double);
Function from_kept = nullptr;
Function from_deleted = nullptr;

Function load_copy(const char* path) {
  constexpr const char* kLibrary = "/lib/x86_64-linux-gnu/libm.so.6";
  const int library = ::open(kLibrary, O_RDONLY);
  if (library < 0) subject::skip("libm.so.6 is elsewhere");
  const int copy = ::open(path, O_RDWR | O_CREAT, 0700);
  struct stat status {};
  require(::fstat(library, &status) == 0 &&
              ::sendfile(copy, library, nullptr, static_cast<std::size_t>(status.st_size)) == status.st_size,
          path);
  ::close(library);
  ::close(copy);
  void* const loaded = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  require(loaded != nullptr, path);
  return reinterpret_cast<Function>(::dlsym(loaded, "logb"));
}

void make_loaded() {
  from_kept = load_copy("/tmp/libkept.so");
  from_deleted = load_copy("/tmp/libdeleted.so");
  require(::unlink("/tmp/libdeleted.so") == 0, "unlink");
  require(from_kept != nullptr && from_deleted != nullptr && from_kept != from_deleted, "two copies");
}

void check_loaded() {
  volatile double eight = 8;
  expect(from_kept(eight) == 3 && from_deleted(eight) == 3, "that a library's code runs");
  void* const again = ::dlopen("/tmp/libkept.so", RTLD_NOW | RTLD_LOCAL);
  expect(again != nullptr && reinterpret_cast<Function>(::dlsym(again, "logb"))(eight) == 3, "that it can be loaded");
}

// ---- What refuses ----

void label_file() {
  ::close(write_file("/tmp/labelled", "x"));
  if (::setxattr("/tmp/labelled", "user.note", "1", 1, 0) != 0) subject::skip("this tmpfs has no user attributes");
}

void make_device() { require(::mknod("/tmp/null", S_IFCHR | 0600, makedev(1, 3)) == 0, "mknod"); }

void lock_shared_file() {
  const int file = ::open("/usr/bin/env", O_RDONLY);
  require(::flock(file, LOCK_EX | LOCK_NB) == 0, "flock");
}

void open_half_deleted() {
  ::close(write_file("/tmp/first", "x"));
  require(::link("/tmp/first", "/tmp/second") == 0, "link");
  require(::open("/tmp/first", O_RDONLY) >= 0 && ::unlink("/tmp/first") == 0, "unlink");
}

void open_fifo() { require(::mkfifo("/tmp/queue", 0600) == 0 && ::open("/tmp/queue", O_RDWR) >= 0, "a named pipe"); }

}  // namespace

int main(int argc, char** argv) {
  return subject::run(argc, argv,
                      {{"deleted", make_deleted, check_deleted},
                       {"tree", make_tree, check_tree},
                       {"locks", make_locks, check_locks},
                       {"loaded", make_loaded, check_loaded},
                       {"labelled", label_file, [] {}},
                       {"device", make_device, [] {}},
                       {"locked-by-all", lock_shared_file, [] {}},
                       {"half-deleted", open_half_deleted, [] {}},
                       {"named-pipe", open_fifo, [] {}}});
}
