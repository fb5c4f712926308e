#include "snapshot/freeze.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "snapshot/freeze_objects.h"
#include "snapshot/freeze_pages.h"
#include "snapshot/image_file.h"
#include "snapshot/tracee.h"

namespace thaw::snapshot {
namespace {

constexpr std::size_t kThreadsMax = 8;

std::size_t threads_for_pages() { return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, kThreadsMax); }

}  // namespace

Result<FreezeReport> freeze(const FreezeRequest& request, const UniqueFd& image_file) {
  const auto began = std::chrono::steady_clock::now();
  Image image;
  ASSIGN_OR_RETURN(image.fingerprint, this_machine());
  FreezeReport report;
  ImageWriter writer(image_file, threads_for_pages());
  {
    ASSIGN_OR_RETURN(Tracee tracee, Tracee::hold(request.pid));
    RETURN_IF_ERROR(read_threads(tracee, image));
    RETURN_IF_ERROR(read_process(tracee, request, image));
    Objects objects(image);
    RETURN_IF_ERROR(read_mappings(tracee, request, objects, image));
    RETURN_IF_ERROR(read_descriptors(tracee, request, objects, image));
    RETURN_IF_ERROR(read_tree(request, objects, image));
    PageCopier copier(writer);
    add_pages(tracee, image, copier);
    objects.add_to(copier);
    RETURN_IF_ERROR(copier.copy());
  }
  const auto held = std::chrono::steady_clock::now() - began;
  ASSIGN_OR_RETURN(report.file_bytes, writer.finish(image));
  report.pages_bytes = image.pages_bytes;
  report.threads = static_cast<std::uint32_t>(image.threads.size());
  report.held_us = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(held).count());
  return report;
}

}  // namespace thaw::snapshot
