#include "snapshot/freeze.h"

#include <chrono>
#include <filesystem>
#include <system_error>

#include "snapshot/image_file.h"
#include "snapshot/proc_files.h"
#include "snapshot/tracee.h"

namespace thaw::snapshot {
namespace {

Status check_private_folders(const FreezeRequest& request) {
  for (const std::string& folder : request.private_folders) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(proc_path(request.pid, "root") + folder, error)) {
      return Error{ErrorKind::unsupported, folder + "/" + entry.path().filename().string() +
                                               " would not be there after the restore: remove it before the snapshot"};
    }
  }
  return {};
}

}  // namespace

Result<FreezeReport> freeze(const FreezeRequest& request, const UniqueFd& image_file) {
  const auto began = std::chrono::steady_clock::now();
  Image image;
  ASSIGN_OR_RETURN(image.fingerprint, this_machine());
  FreezeReport report;
  ImageWriter writer(image_file);
  {
    ASSIGN_OR_RETURN(Tracee tracee, Tracee::hold(request.pid));
    RETURN_IF_ERROR(check_private_folders(request));
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
