// Restore: the calling process becomes the one that an image describes.
//
//   files of its own (restore_objects, restore_tree) -> descriptors (restore_descriptors) -> files of its mappings -> a
//   table of steps for every thread (restore_plan) -> the trampoline: unmap everything, map the image, make the
//   threads, give up privileges, go on
//
// The caller is a single-threaded process with all privileges, already in the namespaces, the root and the group that
// the function is to live in, with the process id that the image wants.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/address_ranges.h"
#include "snapshot/image.h"
#include "snapshot/trampoline.h"

namespace thaw::snapshot {

struct RestoreRequest {
  const Image& image;          // as read_image() gave it
  const UniqueFd& image_file;  // the image in memory (image_memory.h)
  // Gives the process's userfaultfd and the pages that the image holds to whoever serves its faults (pager.h). Empty,
  // or where the kernel has no userfaultfd: lazy mappings are copied like all others.
  std::function<Status(const UniqueFd& userfault, const std::vector<AddressRange>& content)> share_memory;
  const UniqueFd& output;  // where the function's output goes from now on
  // Gets `running` in one write when every thread is about to go on, or the Step that failed.
  const UniqueFd& report;
  std::string running;
  std::function<std::string(const Error&)> failed;  // what `report` gets when it does not come so far
  uid_t user = 0;                                   // of the function; 0: privileges are kept (tests)
  std::span<const sock_filter> filter{};            // seccomp; empty: none
  // Folders of this environment's own, which are empty now: what the image has of them is made there.
  std::vector<std::string> private_folders{};
};

// Never comes back: the process is the function now, or it has told `report` why not and has exited. Errors told:
// unsupported when a file or this machine is not what the image wants.
[[noreturn]] void become(const RestoreRequest& request);

// The tables; what comes before them is in restore_parts.h.

// One number above every descriptor of the image.
std::uint32_t first_free_number(const Image& image);

struct PlanInput {
  const RestoreRequest& request;
  int image_file = -1;
  int report = -1;
  int userfault = -1;              // -1: lazy mappings are copied
  std::uint32_t first_free = 0;    // descriptors from here on are closed at the end
  std::vector<int> mapping_files;  // beside image.mappings; -1 for those without
  int executable = -1;
};

struct Plan {
  const void* code = nullptr;
  const Step* first = nullptr;
};

// Maps a region that is free in the image and here, and builds code, tables and frames in it.
Result<Plan> make_plan(const PlanInput& input);

}  // namespace thaw::snapshot
