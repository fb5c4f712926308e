#include "snapshot/restore.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>

#include "base/sys.h"
#include "snapshot/great_ranges.h"
#include "snapshot/image_memory.h"
#include "snapshot/pager.h"
#include "snapshot/proc_files.h"
#include "snapshot/restore_parts.h"

namespace thaw::snapshot {
namespace {

// Descriptors of the restore itself, beyond the files of mappings.
constexpr std::uint32_t kSpareNumbers = 64;

Error differs(const std::string& path) {
  return {ErrorKind::unsupported, "snapshot: " + path + " is not the file that it was when the snapshot was taken"};
}

struct Opening {
  std::string path;
  const FileIdentity* expected = nullptr;  // null: it is a file of this environment's own
  bool for_writing = false;
};

Result<int> open_same(const Opening& file, std::uint32_t first_free) {
  const int access = file.for_writing ? O_RDWR : O_RDONLY;
  ASSIGN_OR_RETURN(UniqueFd opened, move_above(::open(file.path.c_str(), access | O_CLOEXEC | O_NOCTTY), first_free));
  if (file.expected != nullptr) {
    const auto found = identify(opened.get());
    if (!found.ok() || lasting(file.path, *found) != *file.expected) return differs(file.path);
  }
  return std::move(opened).release();
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

Status open_mapped_files(const RestoreContext& context, const std::vector<int>& objects, PlanInput& input) {
  const auto expected = [&](const std::string& path, const FileIdentity& file) {
    return is_private(context.private_folders, path) ? nullptr : &file;
  };
  std::map<std::pair<std::string, bool>, int> opened;
  for (const Mapping& mapping : context.image.mappings) {
    if (mapping.kind != MappingKind::file && mapping.kind != MappingKind::object) {
      input.mapping_files.push_back(-1);
      continue;
    }
    Opening file{mapping.name, expected(mapping.name, mapping.file), mapping.may_write};
    if (mapping.kind == MappingKind::object)
      file = {"/proc/self/fd/" + std::to_string(objects[mapping.object]), nullptr, mapping.may_write};
    const auto [known, is_new] = opened.try_emplace({file.path, file.for_writing}, -1);
    if (is_new) {
      ASSIGN_OR_RETURN(known->second, open_same(file, context.first_free));
    }
    input.mapping_files.push_back(known->second);
  }
  const Process& process = context.image.process;
  ASSIGN_OR_RETURN(input.executable,
                   open_same({process.executable, expected(process.executable, process.executable_file), false},
                             context.first_free));
  return {};
}

// The userfaultfd is served from the moment when the memory behind it is there.
Status share_memory(const RestoreRequest& request, PlanInput& input) {
  const auto userfault = request.share_memory ? make_userfault() : Result<UniqueFd>(Error());
  if (!userfault.ok()) {
    // Copies cannot wait for what is not there yet.
    if (is_whole(request.image_file)) return {};
    return Error{ErrorKind::unavailable, "snapshot: its image is still being read"};
  }
  AddressRanges content;
  for (const Mapping& mapping : request.image.mappings) {
    if (!is_lazy(mapping)) continue;
    for (const PageRun& run : mapping.runs) content.add({run.start, run.end});
  }
  for (const AddressRange& great : great_ranges(request.image)) content.subtract(great);
  RETURN_IF_ERROR(request.share_memory(*userfault, content.all()));
  ASSIGN_OR_RETURN(input.userfault, move_up(*userfault, input.first_free));
  return {};
}

// The score that the function gave itself; never a lower one than this environment has.
Status restore_oom_score(const Process& process) {
  constexpr std::size_t kScoreBytesMax = 16;
  ASSIGN_OR_RETURN(const std::string now, sys::read_file("/proc/self/oom_score_adj", kScoreBytesMax));
  if (process.oom_score_adj <= std::atoi(now.c_str())) return {};
  ASSIGN_OR_RETURN(const UniqueFd file, sys::open("/proc/self/oom_score_adj", O_WRONLY));
  return sys::write_all(file, std::to_string(process.oom_score_adj));
}

// report: becomes the number to which the descriptor has been moved.
Result<Plan> prepare(const RestoreRequest& request, int& report) {
  const Image& image = request.image;
  if (request.user != 0 && ::setgroups(0, nullptr) != 0) return sys::errno_error("setgroups");
  if (static_cast<std::uint32_t>(::getpid()) != image.process.pid) return internal_error("snapshot: the process id");
  PlanInput input{.request = request, .first_free = first_free_number(image)};
  RETURN_IF_ERROR(raise_limit(input.first_free + kSpareNumbers + static_cast<std::uint32_t>(image.mappings.size()) * 2 +
                              static_cast<std::uint32_t>(image.descriptors.size() + image.objects.size())));
  RETURN_IF_ERROR(share_memory(request, input));
  ASSIGN_OR_RETURN(input.image_file, move_up(request.image_file, input.first_free));
  ASSIGN_OR_RETURN(input.report, move_up(request.report, input.first_free));
  report = input.report;
  ASSIGN_OR_RETURN(const int output, move_up(request.output, input.first_free));
  // Descriptors moved up follow one another; output is the last. Below: the function's own numbers. Above what has just
  // been moved: whatever else this process had.
  ::syscall(SYS_close_range, 0, input.first_free - 1, 0);
  ::syscall(SYS_close_range, static_cast<unsigned>(output) + 1, ~0U, 0);
  const RestoreContext context{.image = image,
                               .private_folders = request.private_folders,
                               .image_file = input.image_file,
                               .output = output,
                               .first_free = input.first_free,
                               .user = request.user};
  ASSIGN_OR_RETURN(const std::vector<int> objects, restore_objects(context));
  RETURN_IF_ERROR(restore_tree(context));
  RETURN_IF_ERROR(restore_descriptors(context, objects));
  if (::chdir(image.process.working_directory.c_str()) != 0) return sys::errno_error("the working directory");
  ::umask(image.process.umask);
  RETURN_IF_ERROR(restore_oom_score(image.process));
  RETURN_IF_ERROR(open_mapped_files(context, objects, input));
  RETURN_IF_ERROR(restore_folder_times(context));
  RETURN_IF_ERROR(restore_watches(context));
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
