#include "snapshot/freeze.h"

#include <chrono>

#include "snapshot/image_file.h"
#include "snapshot/tracee.h"

namespace thaw::snapshot {

Result<FreezeReport> freeze(const FreezeRequest& request, const UniqueFd& image_file) {
  const auto began = std::chrono::steady_clock::now();
  Image image;
  ASSIGN_OR_RETURN(image.fingerprint, this_machine());
  FreezeReport report;
  ImageWriter writer(image_file);
  {
    ASSIGN_OR_RETURN(Tracee tracee, Tracee::hold(request.pid));
    RETURN_IF_ERROR(read_threads(tracee, image));
    RETURN_IF_ERROR(read_process(tracee, image));
    RETURN_IF_ERROR(read_mappings(tracee, image));
    RETURN_IF_ERROR(read_descriptors(tracee, request, image));
    RETURN_IF_ERROR(write_pages(tracee, image, writer));
  }
  const auto held = std::chrono::steady_clock::now() - began;
  ASSIGN_OR_RETURN(report.file_bytes, writer.finish(image));
  report.pages_bytes = image.pages_bytes;
  report.threads = static_cast<std::uint32_t>(image.threads.size());
  report.held_us = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(held).count());
  return report;
}

}  // namespace thaw::snapshot
