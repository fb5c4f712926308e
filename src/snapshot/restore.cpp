#include "snapshot/restore.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "base/sys.h"
#include "snapshot/image_memory.h"
#include "snapshot/pager.h"
#include "snapshot/proc_files.h"

namespace thaw::snapshot {
namespace {

// Descriptors of the restore itself, beyond the files of mappings.
constexpr std::uint32_t kSpareNumbers = 64;

Error differs(const std::string& path) {
  return {ErrorKind::unsupported, "snapshot: " + path + " is not the file that it was when the snapshot was taken"};
}

Result<int> open_same(const std::string& path, const FileIdentity& expected, std::uint32_t first_free) {
  const UniqueFd low(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!low.valid()) return sys::errno_error(path);
  // Out of the way of the function's own numbers.
  const int fd = ::fcntl(low.get(), F_DUPFD_CLOEXEC, static_cast<int>(first_free));
  if (fd < 0) return sys::errno_error(path);
  const auto found = identify(fd);
  if (!found.ok() || *found != expected) {
    ::close(fd);
    return differs(path);
  }
  return fd;
}

// Room for the image's numbers and for the restore's own; the image's limits are set at the end.
Status raise_limit(std::uint32_t numbers) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return sys::errno_error("getrlimit");
  if (limit.rlim_cur >= numbers) return {};
  limit.rlim_cur = numbers;
  limit.rlim_max = std::max<rlim_t>(limit.rlim_max, numbers);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return sys::errno_error("setrlimit");
  return {};
}

Result<int> move_up(const UniqueFd& fd, std::uint32_t first_free) {
  const int moved = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, static_cast<int>(first_free));
  if (moved < 0) return sys::errno_error("move a descriptor");
  return moved;
}

Status open_mapped_files(const Image& image, PlanInput& input) {
  std::map<std::string, int> opened;
  for (const Mapping& mapping : image.mappings) {
    if (mapping.kind != MappingKind::file) {
      input.mapping_files.push_back(-1);
      continue;
    }
    const auto known = opened.find(mapping.name);
    if (known != opened.end()) {
      input.mapping_files.push_back(known->second);
      continue;
    }
    ASSIGN_OR_RETURN(const int fd, open_same(mapping.name, mapping.file, input.first_free));
    opened.emplace(mapping.name, fd);
    input.mapping_files.push_back(fd);
  }
  ASSIGN_OR_RETURN(input.executable,
                   open_same(image.process.executable, image.process.executable_file, input.first_free));
  return {};
}

// The userfaultfd is served from the moment when the memory behind it is there.
Status share_memory(const RestoreRequest& request, PlanInput& input) {
  if (!request.share_memory) return {};
  const auto userfault = make_userfault();
  if (!userfault.ok()) return {};
  std::vector<AddressRange> content;
  for (const Mapping& mapping : request.image.mappings) {
    if (!is_lazy(mapping)) continue;
    for (const PageRun& run : mapping.runs) content.push_back({run.start, run.end});
  }
  RETURN_IF_ERROR(request.share_memory(*userfault, at_most(std::move(content), kPagerRangesMax)));
  ASSIGN_OR_RETURN(input.userfault, move_up(*userfault, input.first_free));
  return {};
}

// report: becomes the number to which the descriptor has been moved.
Result<Plan> prepare(const RestoreRequest& request, int& report) {
  const Image& image = request.image;
  if (request.user != 0 && ::setgroups(0, nullptr) != 0) return sys::errno_error("setgroups");
  if (static_cast<std::uint32_t>(::getpid()) != image.process.pid) return internal_error("snapshot: the process id");
  PlanInput input{.request = request, .first_free = first_free_number(image)};
  RETURN_IF_ERROR(raise_limit(input.first_free + kSpareNumbers + static_cast<std::uint32_t>(image.mappings.size()) * 2 +
                              static_cast<std::uint32_t>(image.descriptors.size())));
  RETURN_IF_ERROR(share_memory(request, input));
  ASSIGN_OR_RETURN(input.image_file, move_up(request.image_file, input.first_free));
  ASSIGN_OR_RETURN(input.report, move_up(request.report, input.first_free));
  report = input.report;
  ASSIGN_OR_RETURN(const int output, move_up(request.output, input.first_free));
  // Descriptors moved up follow one another; output is the last. Below: the function's own numbers. Above what has just
  // been moved: whatever else this process had.
  ::syscall(SYS_close_range, 0, input.first_free - 1, 0);
  ::syscall(SYS_close_range, static_cast<unsigned>(output) + 1, ~0U, 0);
  RETURN_IF_ERROR(restore_descriptors(image, output, input.first_free));
  if (::chdir(image.process.working_directory.c_str()) != 0) return sys::errno_error("the working directory");
  ::umask(image.process.umask);
  RETURN_IF_ERROR(open_mapped_files(image, input));
  return make_plan(input);
}

}  // namespace

std::uint32_t first_free_number(const Image& image) {
  std::uint32_t highest = 63;
  for (const Descriptor& descriptor : image.descriptors) highest = std::max(highest, descriptor.numbers.back());
  return highest + 1;
}

void become(const RestoreRequest& request) {
  // No signal may find this process half-made; every thread's own mask comes with its frame.
  const std::uint64_t all = ~0ULL;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof(all));
  int report = request.report.get();
  const auto plan = prepare(request, report);
  if (plan.ok()) enter_trampoline(plan->code, plan->first, report);
  const std::string message = request.failed(plan.error());
  (void)!::write(report, message.data(), message.size());
  ::_exit(kStepFailedStatus);
}

}  // namespace thaw::snapshot
