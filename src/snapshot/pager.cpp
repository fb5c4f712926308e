#include "snapshot/pager.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/log.h"
#include "base/sys.h"
#include "sandbox/message_socket.h"
#include "sandbox/process_images.h"
#include "snapshot/image.h"
#include "snapshot/image_memory.h"
#include "snapshot/working_set.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint64_t kTokenControl = 0;
constexpr int kEventsMax = 64;
constexpr int kMessagesPerTurn = 16;  // of one process: one that faults much must not starve the others
constexpr std::uint64_t kClusterBytes = 64 * kPageBytes;
constexpr std::uint64_t kZeroBytes = 16 * kPageBytes;
constexpr std::uint64_t kCopyBytes = 64 * kPageBytes;  // of one call
constexpr std::uint64_t kReadBytes = 4 * kPageBytes;
constexpr std::uint64_t kZeroCopyBytes =
    4 * kPageBytes;  // each page costs the function memory, whether it is used or not
constexpr std::uint64_t kAheadBytes = 64 * kPageBytes;  // of the working set at a time: some 20 us of work
constexpr std::uint64_t kBatchBytes = 512 * kPageBytes;
constexpr std::uint64_t kBatchGapBytes = 2 * kPageBytes;  // a page costs less than a call
constexpr auto kLessonMax = std::chrono::seconds(3);
// How often processes are looked for that are gone without a word.
constexpr auto kLookPause = std::chrono::seconds(1);
constexpr auto kLearningLookPause = std::chrono::milliseconds(50);
constexpr auto kWaitingPause = std::chrono::microseconds(200);
constexpr std::size_t kSpacesMax = 65'536;
constexpr std::uint32_t kForksBetweenLooks = 64;

void wake(const UniqueFd& userfault, std::uint64_t page) {
  uffdio_range range{.start = page, .len = kPageBytes};
  ::ioctl(userfault.get(), UFFDIO_WAKE, &range);
}

// Whether the process whose memory it is still lives: a request for the last page of user space tells, which is part of
// a stack or of nothing, never of lazy memory.
bool lives(const UniqueFd& userfault) {
  constexpr std::uint64_t kLastPage = 0x7fffffffe000;
  uffdio_zeropage nothing{.range = {.start = kLastPage, .len = kPageBytes}, .mode = 0, .zeropage = 0};
  return ::ioctl(userfault.get(), UFFDIO_ZEROPAGE, &nothing) == 0 || errno != ESRCH;
}

// Neighbours are mapped in one go: within a stretch of the working set, order by address costs less than it spares.
std::vector<AddressRange> in_batches(const std::vector<AddressRange>& ranges) {
  std::vector<AddressRange> result;
  for (auto at = ranges.begin(); at != ranges.end();) {
    AddressRanges batch;
    std::uint64_t bytes = 0;
    for (; at != ranges.end() && bytes < kBatchBytes; ++at) {
      batch.add({at->start, at->end + kBatchGapBytes});
      bytes += at->end - at->start;
    }
    for (const AddressRange& range : batch.all()) result.push_back({range.start, range.end - kBatchGapBytes});
  }
  return result;
}

// Maps pages of the image, or zeros: as many as can be from the beginning of the range.
Filled fill(const UniqueFd& userfault, AddressRange range, bool stored) {
  for (;;) {
    const uffdio_range wanted{.start = range.start, .len = range.end - range.start};
    std::int64_t done = 0;
    if (stored) {
      uffdio_continue request{.range = wanted, .mode = 0, .mapped = 0};
      if (::ioctl(userfault.get(), UFFDIO_CONTINUE, &request) == 0) return {wanted.len, 0};
      done = request.mapped;
    } else {
      uffdio_zeropage request{.range = wanted, .mode = 0, .zeropage = 0};
      if (::ioctl(userfault.get(), UFFDIO_ZEROPAGE, &request) == 0) return {wanted.len, 0};
      done = request.zeropage;
    }
    if (done > 0) return {static_cast<std::uint64_t>(done), 0};
    // Not within one mapping of the process: its first page is.
    if (errno != ENOENT || wanted.len == kPageBytes) return {0, errno};
    range.end = range.start + kPageBytes;
  }
}

// Gives the process pages of its own with these bytes.
Filled copy(const UniqueFd& userfault, std::uint64_t page, std::span<const std::byte> bytes) {
  uffdio_copy request{
      .dst = page, .src = reinterpret_cast<std::uint64_t>(bytes.data()), .len = bytes.size(), .mode = 0, .copy = 0};
  if (::ioctl(userfault.get(), UFFDIO_COPY, &request) == 0) return {bytes.size(), 0};
  if (request.copy > 0) return {static_cast<std::uint64_t>(request.copy), 0};
  return {0, errno};
}

// The same with the image's pages. Nothing is done (EAGAIN) while it is being read: what is not there yet would be read
// as zeros.
Filled copy_stored(const UniqueFd& userfault, const ImagePages& image, AddressRange range) {
  if (!image.whole) image.whole = is_whole(image.file);
  if (!image.whole) return {0, EAGAIN};
  const std::uint64_t bytes = std::min(range.end - range.start, kCopyBytes);
  // A few pages are read sooner than mapped.
  if (bytes <= kReadBytes) {
    std::byte buffer[kReadBytes];
    if (::pread(image.file.get(), buffer, bytes, static_cast<off_t>(range.start)) != static_cast<ssize_t>(bytes))
      return {0, EIO};
    return copy(userfault, range.start, std::span(buffer).first(bytes));
  }
  void* const place =
      ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, image.file.get(), static_cast<off_t>(range.start));
  if (place == MAP_FAILED) return {0, errno};
  const Filled copied = copy(userfault, range.start, std::span(static_cast<const std::byte*>(place), bytes));
  ::munmap(place, bytes);
  return copied;
}

Filled copy_zeros(const UniqueFd& userfault, AddressRange range) {
  alignas(kPageBytes) static constexpr std::byte kZeros[kZeroCopyBytes] = {};
  return copy(userfault, range.start, std::span(kZeros).first(std::min(range.end - range.start, kZeroCopyBytes)));
}

}  // namespace

Result<UniqueFd> make_userfault() {
  // Also the kernel's own accesses fault here: a system call may be the first to touch a buffer.
  UniqueFd userfault(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  uffdio_api api{.api = UFFD_API,
                 .features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_EVENT_FORK |
                             UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP,
                 .ioctls = 0};
  if (!userfault.valid() || ::ioctl(userfault.get(), UFFDIO_API, &api) != 0) {
    return Error{ErrorKind::unsupported, "userfaultfd: " + std::string(std::strerror(errno))};
  }
  return userfault;
}

std::string encode_pager_add(const std::vector<AddressRange>& ranges) {
  const std::vector<AddressRange> sent = at_most(ranges, kPagerRangesMax);
  const PagerAdd header{.ranges = static_cast<std::uint32_t>(sent.size()),
                        .exact = sent.size() == ranges.size() ? 1U : 0U};
  std::string message(reinterpret_cast<const char*>(&header), sizeof(header));
  message.append(reinterpret_cast<const char*>(sent.data()), sent.size() * sizeof(AddressRange));
  return message;
}

Result<std::unique_ptr<Pager>> Pager::create(UniqueFd control) {
  std::unique_ptr<Pager> pager(new Pager(std::move(control)));
  pager->epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!pager->epoll_.valid()) return sys::errno_error("epoll_create1");
  pager->buffer_.resize(kPagerMessageBytesMax + 1);
  RETURN_IF_ERROR(pager->watch(pager->control_, kTokenControl));
  return pager;
}

Status Pager::watch(const UniqueFd& fd, std::uint64_t token) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = token}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) return sys::errno_error("epoll_ctl");
  return {};
}

std::chrono::nanoseconds Pager::wait_max() const {
  using std::chrono::nanoseconds;
  if (!ahead_.empty()) return nanoseconds(0);
  const nanoseconds until_look = std::max<nanoseconds>(look_again_ - Clock::now(), nanoseconds(0));
  if (!waiting_.empty()) return std::min<nanoseconds>(kWaitingPause, until_look);
  return spaces_.empty() ? nanoseconds(std::chrono::hours(1)) : until_look;
}

void Pager::run() {
  look_again_ = Clock::now() + kLookPause;
  for (;;) {
    epoll_event events[kEventsMax];
    const auto wait = wait_max();
    const timespec timeout{.tv_sec = wait / std::chrono::seconds(1),
                           .tv_nsec = (wait % std::chrono::seconds(1)).count()};
    const int count = ::epoll_pwait2(epoll_.get(), events, kEventsMax, &timeout, nullptr);
    for (int i = 0; i < count; ++i) {
      const std::uint64_t token = events[i].data.u64;
      if (token == kTokenControl) {
        if (!read_control()) return;
        continue;
      }
      const auto found = spaces_.find(token);
      if (found != spaces_.end() && !serve(token, *found->second)) forget(token);
    }
    work_ahead();
    try_waiting();
    if (Clock::now() >= look_again_) look_around();
  }
}

bool Pager::read_control() {
  for (;;) {
    auto message = sandbox::receive_message(control_, buffer_, sandbox::Wait::no);
    if (!message.ok()) return message.error().kind == ErrorKind::overloaded;
    if (message->size == 0) return false;
    take(std::span(buffer_).first(message->size), std::move(message->fds));
  }
}

void Pager::take(std::span<const std::byte> message, std::vector<UniqueFd> fds) {
  PagerAdd header;
  if (message.size() >= sizeof(header)) std::memcpy(&header, message.data(), sizeof(header));
  if (message.size() < sizeof(header) || header.ranges > kPagerRangesMax || fds.size() != sandbox::kMemoryDescriptors ||
      message.size() != sizeof(header) + header.ranges * sizeof(AddressRange) || spaces_.size() >= kSpacesMax) {
    log::error("pager_message_refused bytes={} spaces={}", message.size(), spaces_.size());
    return;
  }
  auto space = std::make_unique<Space>();
  space->userfault = std::move(fds[0]);
  for (std::size_t i = 0; i < header.ranges; ++i) {
    AddressRange range;
    std::memcpy(&range, message.data() + sizeof(header) + i * sizeof(range), sizeof(range));
    space->content.add(range);
  }
  space->exact = header.exact != 0;
  space->image = image_of(std::move(fds[2]));
  WorkingSet set = read_working_set(fds[1]);
  space->ahead = in_batches(set.ranges);
  std::reverse(space->ahead.begin(), space->ahead.end());
  for (const AddressRange& range : set.written) space->written.add(range);
  if (set.lessons < kWorkingSetLessons) {
    space->working_set = std::move(fds[1]);
    space->learn_until = Clock::now() + kLessonMax;
    look_again_ = std::min(look_again_, Clock::now() + kLearningLookPause);
  }
  add(std::move(space));
}

std::shared_ptr<const ImagePages> Pager::image_of(UniqueFd file) {
  std::erase_if(images_, [](const auto& entry) { return entry.second.expired(); });
  struct stat info {};
  ::fstat(file.get(), &info);
  auto& known = images_[{info.st_dev, info.st_ino}];
  std::shared_ptr<const ImagePages> image = known.lock();
  if (image == nullptr) {
    auto fresh = std::make_shared<ImagePages>();
    fresh->file = std::move(file);
    known = image = std::move(fresh);
  }
  return image;
}

void Pager::add(std::unique_ptr<Space> space) {
  const std::uint64_t token = next_token_++;
  if (const Status watched = watch(space->userfault, token); !watched.ok()) {
    // Nobody answers its faults: its processes stop, and their environment's timeouts end them.
    log::error("pager_lost_memory error=\"{}\"", watched.error().message);
  }
  spaces_.emplace(token, std::move(space));
}

void Pager::forget(std::uint64_t token) {
  const auto found = spaces_.find(token);
  learned(*found->second);
  spaces_.erase(found);
}

bool Pager::serve(std::uint64_t token, Space& space) {
  uffd_msg messages[kMessagesPerTurn];
  const ssize_t got = ::read(space.userfault.get(), messages, sizeof(messages));
  if (got < 0) {
    // A fork's descriptor finds no place: those of processes that are gone make room.
    if (errno == EMFILE || errno == ENFILE) look_again_ = Clock::now();
    return true;
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof(uffd_msg); ++i) {
    const auto& about = messages[i].arg;
    switch (messages[i].event) {
      case UFFD_EVENT_PAGEFAULT:
        if (!serve_fault(token, space,
                         {.page = about.pagefault.address & ~(kPageBytes - 1),
                          .stored = (about.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR) != 0,
                          .writes = (about.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0})) {
          return false;
        }
        break;
      case UFFD_EVENT_REMOVE:
      case UFFD_EVENT_UNMAP:
        space.content.subtract({about.remove.start, about.remove.end});
        break;
      case UFFD_EVENT_REMAP:
        space.content.move(about.remap.from, about.remap.to, about.remap.len);
        break;
      case UFFD_EVENT_FORK: {
        auto child = std::make_unique<Space>();
        child->userfault = UniqueFd(static_cast<int>(about.fork.ufd));
        child->image = space.image;
        child->content = space.content;
        child->exact = space.exact;
        add(std::move(child));
        // Processes that have run another program since leave their memory behind.
        if (++space.forks % kForksBetweenLooks == 0) look_again_ = Clock::now();
        break;
      }
      default:
        break;
    }
  }
  if (!std::exchange(space.begun, true) && !space.ahead.empty()) ahead_.push_back(token);
  return true;
}

// Pages of the image, from the beginning of the range, as the clones before have used them.
Filled Pager::fill_stored(const Space& space, AddressRange range) {
  const auto written = space.written.find(range.start);
  if (!written) {
    range.end = std::min(range.end, space.written.next_start(range.start));
    return fill(space.userfault, range, true);
  }
  range.end = std::min(range.end, written->end);
  const Filled copied = copy_stored(space.userfault, *space.image, range);
  // Where there is no memory for copies, or not all of the image yet, it is shared as the rest is.
  return copied.bytes > 0 || copied.failed == EEXIST || copied.failed == ESRCH ? copied
                                                                               : fill(space.userfault, range, true);
}

// What cannot be done because the memory is just changing is tried again by the thread itself, once it is woken.
bool Pager::serve_fault(std::uint64_t token, Space& space, const Fault& fault) {
  const std::uint64_t page = fault.page;
  const auto range = space.content.find(page);
  if (range && !fault.stored && space.exact) {
    waiting_.push_back({token, page});
    return true;
  }
  const bool from_image = range && fault.stored;
  const bool learning = space.working_set.valid();
  const AddressRange one{page, page + kPageBytes};
  Filled filled;
  if (fault.writes) filled = from_image ? copy_stored(space.userfault, *space.image, one) : Filled();
  if (fault.writes && !range) {
    filled = copy_zeros(space.userfault, {page, std::min(space.content.next_start(page), page + kZeroCopyBytes)});
  }
  if (filled.bytes == 0 && filled.failed != ESRCH) {
    std::uint64_t end = one.end;
    if (from_image) {
      if (!learning) end = std::min(range->end, page + kClusterBytes);
    } else if (!range) {
      // Within a range, which may have been joined over gaps, only the page itself is known to be empty.
      end = std::min(space.content.next_start(page), page + kZeroBytes);
    }
    filled = from_image ? fill_stored(space, {page, end}) : fill(space.userfault, {page, end}, false);
  }
  if (filled.failed == ESRCH) return false;
  if (filled.bytes == 0) wake(space.userfault, page);
  if (from_image && learning) note(space, one, fault.writes);
  // Its neighbours are most likely next.
  if (from_image && !learning && fault.writes) {
    const AddressRange next{one.end, std::min(range->end, page + kClusterBytes)};
    if (next.start < next.end && fill_stored(space, next).failed == ESRCH) return false;
  }
  return true;
}

void Pager::note(Space& space, AddressRange page, bool written) {
  const auto append = [&](std::vector<AddressRange>& ranges, std::size_t count_max) {
    if (!ranges.empty() && ranges.back().end == page.start) {
      ranges.back().end = page.end;
    } else if (ranges.size() < count_max) {
      ranges.push_back(page);
    }
  };
  append(space.touched, kWorkingSetRangesMax);
  if (written) append(space.touched_by_writes, kWrittenRangesMax);
}

// Whoever reads the image tells nobody: it is looked for.
void Pager::try_waiting() {
  const std::vector<Waiting> tried = std::exchange(waiting_, {});
  for (const Waiting& one : tried) {
    const auto found = spaces_.find(one.token);
    if (found == spaces_.end()) continue;
    Space& space = *found->second;
    const auto range = space.content.find(one.page);
    // Given back or moved meanwhile: the thread faults again.
    if (!range) {
      wake(space.userfault, one.page);
      continue;
    }
    const Filled filled = fill(space.userfault, {one.page, std::min(range->end, one.page + kClusterBytes)}, true);
    if (filled.bytes > 0) continue;
    if (filled.failed == ESRCH) {
      forget(one.token);
    } else if (filled.failed == EFAULT) {
      waiting_.push_back(one);
    } else {
      wake(space.userfault, one.page);
    }
  }
}

void Pager::work_ahead() {
  if (ahead_.empty()) return;
  const std::uint64_t token = ahead_.front();
  ahead_.pop_front();
  const auto found = spaces_.find(token);
  if (found == spaces_.end()) return;
  if (!work_ahead(*found->second)) {
    forget(token);
  } else if (!found->second->ahead.empty()) {
    ahead_.push_back(token);
  }
}

// False when the process is gone.
bool Pager::work_ahead(Space& space) {
  std::uint64_t left = kAheadBytes;
  while (left > 0 && !space.ahead.empty()) {
    const AddressRange next = space.ahead.back();
    space.ahead.pop_back();
    for (AddressRange range : space.content.within(next)) {
      while (range.start < range.end) {
        const Filled filled = fill_stored(space, range);
        if (filled.failed == ESRCH) return false;
        // A page that is there already, or cannot be now: it is left to a fault.
        range.start += std::max<std::uint64_t>(filled.bytes, kPageBytes);
        left -= std::min(left, std::max<std::uint64_t>(filled.bytes, kPageBytes));
      }
    }
  }
  return true;
}

void Pager::learned(Space& space) {
  if (!space.working_set.valid()) return;
  const UniqueFd file = std::move(space.working_set);
  space.learn_until = Clock::time_point::max();
  const std::vector<AddressRange> touched = std::move(space.touched);
  const std::vector<AddressRange> written = std::move(space.touched_by_writes);
  if (const Status kept = add_lesson(file, touched, written); !kept.ok())
    log::warn("working_set_lost error=\"{}\"", kept.error().message);
}

void Pager::look_around() {
  const Clock::time_point now = Clock::now();
  look_again_ = now + kLookPause;
  for (auto at = spaces_.begin(); at != spaces_.end();) {
    Space& space = *at->second;
    const bool gone = !lives(space.userfault);
    if (gone || space.learn_until <= now) learned(space);
    if (space.working_set.valid()) look_again_ = now + kLearningLookPause;
    at = gone ? spaces_.erase(at) : std::next(at);
  }
}

}  // namespace thaw::snapshot
