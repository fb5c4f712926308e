// Serves the page faults of clones: userfaultfd(2) on memory that is mapped from an image (image_memory.h).
//
// A clone's lazy memory is a private mapping of the image's file, at offsets equal to its addresses. A page that it has
// not touched yet faults; what the fault needs depends on what has happened to the page since:
//
//   a page of the image       UFFDIO_CONTINUE maps the file's own page; the first write copies it, as everywhere.
//                             UFFDIO_COPY makes a copy at once where the fault is a write, or clones are known to write
//                             there first: a page that is mapped for reading must be taken from every other CPU
//                             (an interrupt each) before its copy can take its place
//   one that is being read    the fault waits until it is there
//   anything else             UFFDIO_ZEROPAGE: never stored, or given back (MADV_DONTNEED), or grown (mremap); a page
//   of
//                             its own, by UFFDIO_COPY, where the fault is a write
//
// The kernel reports what happens to the memory (REMOVE, UNMAP, REMAP, FORK) and waits until the report has been read.
// So the memory behaves as the anonymous memory that it was: only MADV_FREE answers EINVAL, as kernels before 4.5 do.
//
// With a clone's first fault its working set begins to be mapped, in the order in which clones before it used it, a few
// pages at a time between the faults that come meanwhile. While that is being learned, each fault maps one page and is
// noted; later, many at a time.
//
// It is a process of its own without privileges, one thread, one loop over epoll. It ends when its control socket
// closes. If it dies, the environments that it serves must end: their memory would read wrongly (userfaultfd(2)).
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/address_ranges.h"

namespace thaw::snapshot {

// On the control socket: this header, then `ranges` AddressRanges: the pages that the image holds. Descriptors: the
// userfaultfd, the working set's file, the image in memory.
struct PagerAdd {
  std::uint32_t ranges = 0;
  std::uint32_t exact = 0;  // 1: every page of the ranges belongs to the image
};
static_assert(sizeof(PagerAdd) == 8);
// The most that a message holds; more ranges are joined over small gaps until they fit.
inline constexpr std::size_t kPagerRangesMax = 4096;
inline constexpr std::size_t kPagerMessageBytesMax = sizeof(PagerAdd) + kPagerRangesMax * sizeof(AddressRange);

// A userfaultfd of the calling process, ready to be registered. Errors: unsupported where the kernel lacks it or
// forbids it.
Result<UniqueFd> make_userfault();

// The message, without its descriptors.
std::string encode_pager_add(const std::vector<AddressRange>& ranges);

// Pages of an image in memory, read for copies. Threads: one.
struct ImagePages {
  UniqueFd file;
  mutable bool whole = false;  // every page is there
};

// What a request to fill a range has done.
struct Filled {
  std::uint64_t bytes = 0;  // from the range's beginning
  int failed = 0;           // errno, where nothing could be done
};

class Pager {
 public:
  static Result<std::unique_ptr<Pager>> create(UniqueFd control);
  // Returns when the control socket's other end is closed.
  void run();

 private:
  using Clock = std::chrono::steady_clock;
  // The memory of one process.
  struct Space {
    UniqueFd userfault;
    std::shared_ptr<const ImagePages> image;
    AddressRanges content;
    AddressRanges written;  // what clones write to first
    bool exact = false;
    std::vector<AddressRange> ahead;  // what is still to be mapped of the working set, the next one last
    bool begun = false;               // it has faulted
    UniqueFd working_set;             // while it is learned
    std::vector<AddressRange> touched;
    std::vector<AddressRange> touched_by_writes;
    Clock::time_point learn_until = Clock::time_point::max();
    std::uint32_t forks = 0;
  };

  explicit Pager(UniqueFd control) : control_(std::move(control)) {}
  Status watch(const UniqueFd& fd, std::uint64_t token);
  bool read_control();
  void take(std::span<const std::byte> message, std::vector<UniqueFd> fds);
  // The image of this descriptor, shared by the clones that have it.
  std::shared_ptr<const ImagePages> image_of(UniqueFd file);
  void add(std::unique_ptr<Space> space);
  void forget(std::uint64_t token);
  // A few events of one process. False when the process is gone.
  bool serve(std::uint64_t token, Space& space);
  struct Fault {
    std::uint64_t page = 0;
    bool stored = false;  // the image's file holds something there
    bool writes = false;
  };
  bool serve_fault(std::uint64_t token, Space& space, const Fault& fault);
  static void note(Space& space, AddressRange page, bool written);
  static Filled fill_stored(const Space& space, AddressRange range);
  void try_waiting();
  // Maps a little of the working set of the process whose turn it is.
  void work_ahead();
  bool work_ahead(Space& space);
  static void learned(Space& space);
  void look_around();
  std::chrono::nanoseconds wait_max() const;

  UniqueFd control_;
  UniqueFd epoll_;
  std::uint64_t next_token_ = 1;
  std::unordered_map<std::uint64_t, std::unique_ptr<Space>> spaces_;  // by token
  std::deque<std::uint64_t> ahead_;                                   // tokens of spaces with something to map ahead
  struct Waiting {
    std::uint64_t token = 0;
    std::uint64_t page = 0;
  };
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::weak_ptr<const ImagePages>> images_;  // by device and inode
  std::vector<Waiting> waiting_;  // faults on pages that are not in memory yet: one for a thread at most
  std::vector<std::byte> buffer_;
  Clock::time_point look_again_;
};

}  // namespace thaw::snapshot
