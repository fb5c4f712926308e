#include "snapshot/pager.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/log.h"
#include "base/sys.h"
#include "sandbox/message_socket.h"
#include "snapshot/image.h"
#include "snapshot/working_set.h"

namespace thaw::snapshot {
namespace {

constexpr std::uint64_t kTokenControl = 0;
constexpr int kEventsMax = 64;
constexpr int kMessagesPerTurn = 16;  // of one process: one that faults much must not starve the others
constexpr std::uint64_t kClusterPages = 64;
constexpr std::uint64_t kLearningPages = 4;
constexpr std::uint64_t kZeroPages = 16;
constexpr auto kLessonMax = std::chrono::seconds(3);
// How often processes are looked for that are gone without a word.
constexpr auto kLookPause = std::chrono::seconds(1);
constexpr std::size_t kSpacesMax = 65'536;
constexpr std::uint32_t kForksBetweenLooks = 64;

std::uint64_t pages(std::uint64_t count) { return count * kPageBytes; }

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

std::string encode_pager_add(std::span<const AddressRange> ranges, bool learn) {
  const PagerAdd header{.ranges = static_cast<std::uint32_t>(ranges.size()), .learn = learn ? 1U : 0U};
  std::string message(reinterpret_cast<const char*>(&header), sizeof(header));
  message.append(reinterpret_cast<const char*>(ranges.data()), ranges.size_bytes());
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

void Pager::run() {
  look_again_ = Clock::now() + kLookPause;
  for (;;) {
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(look_again_ - Clock::now()).count();
    epoll_event events[kEventsMax];
    const int wait_ms = spaces_.empty() ? -1 : static_cast<int>(std::max<long long>(wait, 0));
    const int count = ::epoll_wait(epoll_.get(), events, kEventsMax, wait_ms);
    for (int i = 0; i < count; ++i) {
      const std::uint64_t token = events[i].data.u64;
      if (token == kTokenControl) {
        if (!read_control()) return;
        continue;
      }
      const auto found = spaces_.find(token);
      if (found != spaces_.end() && !serve(*found->second)) {
        learned(*found->second);
        spaces_.erase(found);
      }
    }
    if (Clock::now() >= look_again_) drop_gone();
  }
}

bool Pager::read_control() {
  for (;;) {
    auto message = sandbox::receive_message(control_, buffer_, sandbox::Wait::no);
    if (!message.ok()) return message.error().kind == ErrorKind::overloaded;
    if (message->size == 0) return false;
    PagerAdd header;
    if (message->size < sizeof(header)) continue;
    std::memcpy(&header, buffer_.data(), sizeof(header));
    const std::size_t fds = header.learn != 0 ? 2 : 1;
    if (header.ranges > kPagerRangesMax || message->size != sizeof(header) + header.ranges * sizeof(AddressRange) ||
        message->fds.size() != fds || spaces_.size() >= kSpacesMax) {
      log::error("pager_message_refused bytes={} spaces={}", message->size, spaces_.size());
      continue;
    }
    AddressRanges content;
    for (std::size_t i = 0; i < header.ranges; ++i) {
      AddressRange range;
      std::memcpy(&range, buffer_.data() + sizeof(header) + i * sizeof(range), sizeof(range));
      content.add(range);
    }
    add(std::move(message->fds[0]), std::move(content), fds == 2 ? std::move(message->fds[1]) : UniqueFd());
  }
}

void Pager::add(UniqueFd userfault, AddressRanges content, UniqueFd working_set) {
  auto space = std::make_unique<Space>();
  space->userfault = std::move(userfault);
  space->content = std::move(content);
  space->working_set = std::move(working_set);
  if (space->working_set.valid()) space->learn_until = Clock::now() + kLessonMax;
  const std::uint64_t token = next_token_++;
  if (const Status watched = watch(space->userfault, token); !watched.ok()) {
    // Nobody answers its faults: its processes stop, and their environment's timeouts end them.
    log::error("pager_lost_memory error=\"{}\"", watched.error().message);
  }
  spaces_.emplace(token, std::move(space));
}

bool Pager::serve(Space& space) {
  uffd_msg messages[kMessagesPerTurn];
  const ssize_t got = ::read(space.userfault.get(), messages, sizeof(messages));
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof(uffd_msg); ++i) {
    const auto& about = messages[i].arg;
    switch (messages[i].event) {
      case UFFD_EVENT_PAGEFAULT:
        if (!serve_fault(space, about.pagefault.address & ~(kPageBytes - 1),
                         (about.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR) != 0)) {
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
      case UFFD_EVENT_FORK:
        add(UniqueFd(static_cast<int>(about.fork.ufd)), space.content, {});
        // Processes that have run another program since leave their memory behind.
        if (++space.forks % kForksBetweenLooks == 0) look_again_ = Clock::now();
        break;
      default:
        break;
    }
  }
  return true;
}

// Maps pages of the image, or zeros, from `page` on: as many as can be of what is wanted. The first errno that nothing
// could be done about, or 0.
int Pager::fill(const UniqueFd& userfault, std::uint64_t page, std::uint64_t end, bool stored) {
  for (;;) {
    const uffdio_range range{.start = page, .len = end - page};
    int failed = 0;
    if (stored) {
      uffdio_continue request{.range = range, .mode = 0, .mapped = 0};
      if (::ioctl(userfault.get(), UFFDIO_CONTINUE, &request) != 0 && request.mapped <= 0) failed = errno;
    } else {
      uffdio_zeropage request{.range = range, .mode = 0, .zeropage = 0};
      if (::ioctl(userfault.get(), UFFDIO_ZEROPAGE, &request) != 0 && request.zeropage <= 0) failed = errno;
    }
    // Not within one mapping of the process: its first page is.
    if (failed != ENOENT || end == page + kPageBytes) return failed;
    end = page + kPageBytes;
  }
}

// What cannot be done because the memory is just changing is tried again by the thread itself, once it is woken.
bool Pager::serve_fault(Space& space, std::uint64_t page, bool stored) {
  const auto range = space.content.find(page);
  const bool from_image = range && stored;
  const bool learning = space.working_set.valid();
  std::uint64_t end = page + kPageBytes;
  if (from_image) {
    end = std::min(range->end, page + pages(learning ? kLearningPages : kClusterPages));
  } else if (!range) {
    // Within a range, which may have been joined over gaps, only the page itself is known to be empty.
    end = std::min(space.content.next_start(page), page + pages(kZeroPages));
  }
  const int failed = fill(space.userfault, page, end, from_image);
  if (failed == ESRCH) return false;
  if (failed != 0) wake(space.userfault, page);
  if (from_image && learning) space.touched.add({page, end});
  return true;
}

void Pager::learned(Space& space) {
  if (!space.working_set.valid()) return;
  const UniqueFd file = std::move(space.working_set);
  space.learn_until = Clock::time_point::max();
  const std::vector<AddressRange> touched = space.touched.all();
  space.touched = {};
  if (const Status kept = add_lesson(file, touched); !kept.ok())
    log::warn("working_set_lost error=\"{}\"", kept.error().message);
}

void Pager::drop_gone() {
  const Clock::time_point now = Clock::now();
  look_again_ = now + kLookPause;
  for (auto at = spaces_.begin(); at != spaces_.end();) {
    Space& space = *at->second;
    const bool gone = !lives(space.userfault);
    if (gone || space.learn_until <= now) learned(space);
    at = gone ? spaces_.erase(at) : std::next(at);
  }
}

}  // namespace thaw::snapshot
