// Memory: what is shared, what has been given back, what moves; see subject.h.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "subject.h"

namespace {

using subject::expect;
using subject::require;

constexpr std::size_t kPage = 4096;

char* map(std::size_t bytes, int protection, int flags, int file = -1, off_t offset = 0) {
  void* const place = ::mmap(nullptr, bytes, protection, flags, file, offset);
  require(place != MAP_FAILED, "mmap");
  return static_cast<char*>(place);
}

bool all_are(const char* bytes, std::size_t count, char wanted) {
  for (std::size_t i = 0; i < count; ++i) {
    if (bytes[i] != wanted) return false;
  }
  return true;
}

// In a child, so that what it writes is seen here only if the memory is shared.
bool child_does(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && status == 0;
}

std::string link_of(int file) {
  char target[PATH_MAX] = {};
  const ssize_t size = ::readlink(("/proc/self/fd/" + std::to_string(file)).c_str(), target, sizeof(target) - 1);
  return {target, size > 0 ? static_cast<std::size_t>(size) : 0};
}

// ---- A memfd with several descriptions and mappings ----

struct {
  int file = -1;
  int copy = -1;    // the same description
  int reader = -1;  // another one
  char* first = nullptr;
  char* second = nullptr;  // of the same pages
  char* own = nullptr;     // private, its second page written to
  char* read_only = nullptr;
} memory;

void make_memfd() {
  memory.file = ::memfd_create("the numbers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  require(memory.file >= 0 && ::ftruncate(memory.file, 8 * kPage + 100) == 0, "memfd");
  memory.copy = ::dup(memory.file);
  memory.reader = ::open(("/proc/self/fd/" + std::to_string(memory.file)).c_str(), O_RDONLY);
  memory.first = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, memory.file);
  memory.second = map(2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, memory.file, kPage);
  memory.own = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory.file);
  memory.read_only = map(kPage, PROT_READ, MAP_SHARED, memory.reader);
  std::memset(memory.first, 'a', kPage);
  std::memset(memory.second, 'b', 2 * kPage);
  std::memset(memory.own + kPage, 'o', kPage);
  require(::pwrite(memory.file, "end", 3, 8 * kPage + 97) == 3, "pwrite");
  require(::lseek(memory.file, 5000, SEEK_SET) == 5000 && ::lseek(memory.reader, 17, SEEK_SET) == 17, "lseek");
  require(::fcntl(memory.file, F_SETFL, O_APPEND) == 0, "F_SETFL");
  require(::fcntl(memory.file, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) == 0, "seals");
  require(::fchmod(memory.file, 0640) == 0, "fchmod");
}

void check_memfd() {
  expect(link_of(memory.file) == "/memfd:the numbers (deleted)", "the name: " + link_of(memory.file));
  expect(all_are(memory.first, kPage, 'a') && all_are(memory.first + kPage, 2 * kPage, 'b') &&
             all_are(memory.first + 3 * kPage, kPage, 0),
         "what the first mapping holds");
  expect(all_are(memory.second, 2 * kPage, 'b'), "what the second mapping holds");
  expect(all_are(memory.own, kPage, 'a') && all_are(memory.own + kPage, kPage, 'o') &&
             all_are(memory.own + 2 * kPage, kPage, 'b'),
         "what the private mapping holds");
  expect(all_are(memory.read_only, kPage, 'a'), "what the mapping for reading holds");
  expect(::lseek(memory.file, 0, SEEK_CUR) == 5000 && ::lseek(memory.copy, 1, SEEK_CUR) == 5001 &&
             ::lseek(memory.file, 0, SEEK_CUR) == 5001,
         "the position, and that a copy shares it");
  expect(::lseek(memory.reader, 0, SEEK_CUR) == 17, "the position of the other description");
  expect((::fcntl(memory.file, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_RDWR | O_APPEND), "flags");
  expect((::fcntl(memory.reader, F_GETFL) & O_ACCMODE) == O_RDONLY, "flags of the other description");
  expect(::fcntl(memory.file, F_GETFD) == FD_CLOEXEC && ::fcntl(memory.copy, F_GETFD) == 0, "close-on-exec");
  expect(::fcntl(memory.file, F_GET_SEALS) == (F_SEAL_GROW | F_SEAL_SHRINK), "seals");
  expect(::ftruncate(memory.file, kPage) != 0 && errno == EPERM, "that seals hold");
  struct stat status {};
  ::fstat(memory.file, &status);
  expect(status.st_size == 8 * kPage + 100 && (status.st_mode & 07777) == 0640 && status.st_uid == ::getuid(),
         "size, mode and owner");
  char end[3] = {};
  expect(::pread(memory.reader, end, 3, 8 * kPage + 97) == 3 && std::memcmp(end, "end", 3) == 0, "the last bytes");
  memory.first[kPage + 5] = 'X';
  char seen = 0;
  expect(memory.second[5] == 'X' && ::pread(memory.reader, &seen, 1, kPage + 5) == 1 && seen == 'X',
         "that mappings and descriptors share the pages");
  expect(memory.own[kPage + 5] == 'o', "that the private page is private");
  expect(::mprotect(memory.read_only, kPage, PROT_READ | PROT_WRITE) != 0, "that a mapping for reading stays one");
  expect(child_does([] { memory.second[0] = 'C'; }) && memory.first[kPage] == 'C', "that a child shares it");
}

int sealed = -1;
int not_executable = -1;
char* sealed_view = nullptr;

void make_sealed() {
  sealed = ::memfd_create("sealed", MFD_ALLOW_SEALING);
  require(::write(sealed, "constant", 8) == 8, "write");
  require(::fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) == 0, "seals");
  const int reader = ::open(("/proc/self/fd/" + std::to_string(sealed)).c_str(), O_RDONLY);
  sealed_view = map(kPage, PROT_READ, MAP_SHARED, reader);
  ::close(reader);
  constexpr unsigned kNoExecSeal = 8;  // MFD_NOEXEC_SEAL, since Linux 6.3
  not_executable = ::memfd_create("data", kNoExecSeal);
}

void check_sealed() {
  expect(std::memcmp(sealed_view, "constant", 9) == 0, "what is in it");
  expect(::write(sealed, "x", 1) != 1 && errno == EPERM, "that it cannot be written");
  expect(::fcntl(sealed, F_ADD_SEALS, F_SEAL_GROW) != 0, "that it takes no more seals");
  constexpr int kSealExec = 0x20;
  expect(
      not_executable < 0 || (::fcntl(not_executable, F_GET_SEALS) == kSealExec && ::fchmod(not_executable, 0700) != 0),
      "a memfd that cannot be made executable");
}

// ---- Shared memory without a name ----

struct {
  char* anonymous = nullptr;
  char* again = nullptr;  // the same pages, by mremap(2)
  char* guarded = nullptr;
  char* zero = nullptr;
} shared;

void make_shared() {
  shared.anonymous = map(16 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  std::memset(shared.anonymous + 3 * kPage, 's', kPage);
  void* const twin = ::mremap(shared.anonymous, 0, 16 * kPage, MREMAP_MAYMOVE);
  require(twin != MAP_FAILED, "mremap");
  shared.again = static_cast<char*>(twin);
  shared.guarded = map(2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  std::memset(shared.guarded, 'g', 2 * kPage);
  require(::mprotect(shared.guarded, 2 * kPage, PROT_READ) == 0, "mprotect");
  const int zero = ::open("/dev/zero", O_RDWR);
  shared.zero = map(2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, zero);
  shared.zero[kPage] = 'z';
  ::close(zero);
}

void check_shared() {
  expect(all_are(shared.anonymous, 3 * kPage, 0) && all_are(shared.anonymous + 3 * kPage, kPage, 's') &&
             all_are(shared.anonymous + 4 * kPage, 12 * kPage, 0),
         "what it holds");
  shared.again[0] = 'A';
  expect(shared.anonymous[0] == 'A', "that both mappings are of the same pages");
  expect(child_does([] { shared.anonymous[15 * kPage] = 'C'; }) && shared.again[15 * kPage] == 'C',
         "that a child shares it");
  expect(::mprotect(shared.guarded, 2 * kPage, PROT_READ | PROT_WRITE) == 0, "that it can be made writable again");
  expect(shared.guarded[kPage] == 'g', "what the guarded part holds");
  shared.guarded[0] = 'h';
  expect(shared.zero[0] == 0 && shared.zero[kPage] == 'z', "what the mapping of /dev/zero holds");
  expect(child_does([] { shared.zero[0] = 'Z'; }) && shared.zero[0] == 'Z', "that a child shares that one");
}

// ---- Memory that has been given back ----

struct {
  char* before = nullptr;  // given back before the freeze
  char* lazily = nullptr;  // the same, by MADV_FREE
  char* after = nullptr;   // populated; given back by the check
  char* later = nullptr;
  bool lazily_given = false;
} given;

constexpr std::size_t kGivenBytes = 64 * kPage;

char* populated(char with) {
  char* const place = map(kGivenBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  std::memset(place, with, kGivenBytes);
  return place;
}

// True when the kernel has MADV_FREE for this memory.
bool free_lazily(char* place) {
  if (::madvise(place, kGivenBytes, MADV_FREE) == 0) return true;
  require(errno == EINVAL, "MADV_FREE");
  return false;
}

// Each page is what it was or zeros; a write to it stays.
bool is_freed(char* place, char was) {
  for (std::size_t at = 0; at < kGivenBytes; at += kPage) {
    if (!all_are(place + at, kPage, 0) && !all_are(place + at, kPage, was)) return false;
  }
  for (std::size_t at = 0; at < kGivenBytes; at += kPage) place[at] = 'w';
  for (std::size_t at = 0; at < kGivenBytes; at += kPage) {
    if (place[at] != 'w') return false;
  }
  return true;
}

void make_given() {
  given.before = populated('1');
  require(::madvise(given.before, kGivenBytes, MADV_DONTNEED) == 0, "MADV_DONTNEED");
  given.lazily = populated('2');
  given.lazily_given = free_lazily(given.lazily);
  given.after = populated('3');
  given.later = populated('4');
}

void check_given() {
  expect(all_are(given.before, kGivenBytes, 0), "that memory given back before is zeros");
  if (given.lazily_given) {
    expect(is_freed(given.lazily, '2'), "memory freed before");
  } else {
    expect(all_are(given.lazily, kGivenBytes, '2'), "memory that was not freed");
  }
  expect(all_are(given.after, kGivenBytes, '3'), "memory that was kept");
  expect(::madvise(given.after, kGivenBytes, MADV_DONTNEED) == 0, "MADV_DONTNEED");
  expect(all_are(given.after, kGivenBytes, 0), "that memory given back is zeros");
  std::memset(given.after, '5', kGivenBytes);
  expect(all_are(given.after, kGivenBytes, '5'), "that it can be written again");
  // Nobody has touched these since they were restored.
  if (free_lazily(given.later)) {
    expect(is_freed(given.later, '4'), "memory freed by MADV_FREE");
  } else {
    expect(all_are(given.later, kGivenBytes, '4'), "memory that was not freed");
  }
}

// ---- Memory that grows, moves and changes ----

struct {
  char* grows = nullptr;
  char* moves = nullptr;
  char* guarded = nullptr;
  char* heap = nullptr;
  std::uintptr_t heap_end = 0;
} moved;

void make_moved() {
  moved.grows = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  std::memset(moved.grows, 'g', 4 * kPage);
  moved.moves = map(4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  std::memset(moved.moves, 'm', 4 * kPage);
  moved.guarded = map(3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  std::memset(moved.guarded, 'p', 3 * kPage);
  require(::mprotect(moved.guarded + kPage, kPage, PROT_NONE) == 0, "mprotect");
  moved.heap = static_cast<char*>(::sbrk(5 * kPage));
  std::memset(moved.heap, 'h', 5 * kPage);
  moved.heap_end = reinterpret_cast<std::uintptr_t>(::sbrk(0));
}

void check_moved() {
  void* const grown = ::mremap(moved.grows, 4 * kPage, 9 * kPage, MREMAP_MAYMOVE);
  expect(grown != MAP_FAILED && all_are(static_cast<char*>(grown), 4 * kPage, 'g') &&
             all_are(static_cast<char*>(grown) + 4 * kPage, 5 * kPage, 0),
         "memory that grows");
  char* const target = map(4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
  void* const there = ::mremap(moved.moves, 4 * kPage, 4 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target);
  expect(there == target && all_are(target, 4 * kPage, 'm'), "memory that moves");
  expect(
      ::mprotect(moved.guarded + kPage, kPage, PROT_READ | PROT_WRITE) == 0 && all_are(moved.guarded, 3 * kPage, 'p'),
      "memory that nobody might read");
  expect(reinterpret_cast<std::uintptr_t>(::sbrk(0)) == moved.heap_end, "the end of the heap");
  expect(all_are(moved.heap, 5 * kPage, 'h'), "the heap");
  char* const more = static_cast<char*>(::sbrk(3 * kPage));
  expect(reinterpret_cast<std::uintptr_t>(more) == moved.heap_end && all_are(more, 3 * kPage, 0), "a heap that grows");
  expect(::sbrk(-static_cast<std::intptr_t>(3 * kPage)) != reinterpret_cast<void*>(-1) &&
             reinterpret_cast<std::uintptr_t>(::sbrk(0)) == moved.heap_end,
         "a heap that shrinks");
  expect(child_does([] {
           if (!all_are(moved.heap, 5 * kPage, 'h')) ::_exit(1);
           std::memset(moved.heap, 'c', 5 * kPage);
         }),
         "what a child sees");
  expect(all_are(moved.heap, 5 * kPage, 'h'), "that a child writes to memory of its own");
}

// ---- Much of it ----

constexpr std::size_t kBulkBytes = 256 << 20;
std::uint64_t* bulk = nullptr;

// Pages that are all different, every eighth of zeros.
std::uint64_t bulk_word(std::size_t at) {
  if (at / 512 % 8 == 7) return 0;
  std::uint64_t word = at * 0x9e3779b97f4a7c15;
  return word ^ word >> 29;
}

void make_bulk() {
  bulk = reinterpret_cast<std::uint64_t*>(map(kBulkBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
  for (std::size_t at = 0; at < kBulkBytes / 8; ++at) bulk[at] = bulk_word(at);
}

void check_bulk() {
  for (std::size_t at = 0; at < kBulkBytes / 8; ++at) {
    if (bulk[at] != bulk_word(at)) return expect(false, "word " + std::to_string(at));
  }
}

// ---- A great range: long, written once ----

constexpr std::size_t kGreatBytes = 96 << 20;
constexpr std::size_t kGreatZeros = 40 << 20;  // a stretch of zeros begins here
constexpr std::size_t kGreatZerosBytes = 256 << 10;
std::uint64_t* great = nullptr;
char* great_block = nullptr;  // of malloc(3), which maps it

std::uint64_t great_word(std::size_t at) {
  const std::size_t byte = at * 8;
  return byte >= kGreatZeros && byte < kGreatZeros + kGreatZerosBytes ? 0 : at * 0x9e3779b97f4a7c15 | 1;
}

bool great_is_right(std::size_t from, std::size_t bytes) {
  for (std::size_t at = from / 8; at < (from + bytes) / 8; ++at) {
    if (great[at] != great_word(at)) return false;
  }
  return true;
}

void make_great() {
  great = reinterpret_cast<std::uint64_t*>(map(kGreatBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
  for (std::size_t at = 0; at < kGreatBytes / 8; ++at) great[at] = great_word(at);
  great_block = static_cast<char*>(std::malloc(kGreatBytes));
  require(great_block != nullptr, "malloc");
  std::memset(great_block, 'b', kGreatBytes);
}

// Gives a part back: it is zeros then, or the kernel has said that it cannot be, and it is what it was.
void give_back_great(std::size_t from, std::size_t bytes, const char* where) {
  char* const place = reinterpret_cast<char*>(great) + from;
  if (::madvise(place, bytes, MADV_DONTNEED) == 0) {
    expect(all_are(place, bytes, 0), std::string("that what is given back is zeros ") + where);
    for (std::size_t at = from / 8; at < (from + bytes) / 8; ++at) great[at] = great_word(at);
  } else {
    expect(errno == EINVAL && great_is_right(from, bytes), std::string("that what is not given back is kept ") + where);
  }
}

void check_great() {
  char* const bytes = reinterpret_cast<char*>(great);
  expect(great_is_right(0, kGreatBytes), "what it holds");
  expect(child_does([] {
           if (!great_is_right(50 << 20, 4 << 20)) ::_exit(1);
           great[(50 << 20) / 8] = 7;
         }) &&
             great_is_right(50 << 20, 4 << 20),
         "that a child writes to memory of its own");
  great[(60 << 20) / 8] = 77;
  expect(great[(60 << 20) / 8] == 77 && great_is_right((60 << 20) + 8, 4096), "that it can be written");
  great[(60 << 20) / 8] = great_word((60 << 20) / 8);
  give_back_great(0, kPage, "at the start");
  give_back_great(30 << 20, 5 << 20, "in the midst");
  give_back_great(kGreatZeros - kPage, kGreatZerosBytes + 2 * kPage, "around the zeros");
  give_back_great(0, kGreatBytes, "in all of it");
  give_back_great(kGreatBytes - kPage, kPage, "at the end");
  // What is mapped over it is new, and what is unmapped is gone.
  require(::mmap(bytes + (10 << 20), 3 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
              bytes + (10 << 20),
          "mmap");
  expect(all_are(bytes + (10 << 20), 3 << 20, 0) && great_is_right(13 << 20, 1 << 20), "what is mapped over it");
  expect(::mprotect(bytes + (20 << 20), 2 << 20, PROT_READ) == 0 && great_is_right(20 << 20, 2 << 20), "mprotect");
  expect(::munmap(bytes + (90 << 20), 6 << 20) == 0 && great_is_right(80 << 20, 10 << 20), "munmap");
  void* const there = ::mremap(bytes + (70 << 20), 8 << 20, 16 << 20, MREMAP_MAYMOVE);
  if (there != MAP_FAILED) {
    expect(all_are(static_cast<char*>(there) + (8 << 20), 8 << 20, 0), "that it grows by zeros");
  } else {
    expect(errno == ENOMEM && great_is_right(70 << 20, 8 << 20), "that what cannot move is kept");
  }
  great_block = static_cast<char*>(std::realloc(great_block, kGreatBytes + (32 << 20)));
  expect(great_block != nullptr && all_are(great_block, kGreatBytes, 'b'), "that realloc keeps what it holds");
  std::memset(great_block + kGreatBytes, 'c', 32 << 20);
  great_block = static_cast<char*>(std::realloc(great_block, 4 << 20));
  expect(great_block != nullptr && all_are(great_block, 4 << 20, 'b'), "that realloc shrinks it");
  std::free(great_block);
}

// ---- What refuses ----

void map_sealed_for_writing() {
  const int file = ::memfd_create("half sealed", MFD_ALLOW_SEALING);
  require(::ftruncate(file, kPage) == 0, "ftruncate");
  map(kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file);
  require(::fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0, "seals");
}

void protect_by_key() {
  const int key = ::pkey_alloc(0, 0);
  if (key < 0) subject::skip("this machine has no protection keys");
  require(::pkey_mprotect(map(kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS), kPage, PROT_READ, key) == 0,
          "pkey_mprotect");
}

void seal() {
  constexpr long kMseal = 462;  // since Linux 6.10
  char* const place = map(kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS);
  if (::syscall(kMseal, place, kPage, 0) != 0) subject::skip("this kernel has no mseal");
}

void have_huge_memfd() { require(::memfd_create("huge", MFD_HUGETLB) >= 0, "MFD_HUGETLB"); }

void map_system_five() {
  const int segment = ::shmget(IPC_PRIVATE, kPage, 0600);
  require(segment >= 0 && ::shmat(segment, nullptr, 0) != reinterpret_cast<void*>(-1), "shmat");
  ::shmctl(segment, IPC_RMID, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  return subject::run(argc, argv,
                      {{"memfd", make_memfd, check_memfd},
                       {"sealed", make_sealed, check_sealed},
                       {"shared", make_shared, check_shared},
                       {"given-back", make_given, check_given},
                       {"moved", make_moved, check_moved},
                       {"great", make_great, check_great},
                       {"bulk", make_bulk, check_bulk},
                       {"key", protect_by_key, [] {}},
                       {"mseal", seal, [] {}},
                       {"system-five", map_system_five, [] {}},
                       {"huge-memfd", have_huge_memfd, [] {}},
                       {"sealed-for-writing", map_sealed_for_writing, [] {}}});
}
