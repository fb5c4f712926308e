#include "snapshot/engine.h"

#include <unistd.h>

#include "base/log.h"
#include "snapshot/freeze.h"
#include "snapshot/image_memory.h"
#include "snapshot/pager.h"
#include "snapshot/restore.h"

namespace thaw::snapshot {

namespace {

// Every environment mounts these for itself.
const std::vector<std::string>& private_folders() {
  static const std::vector<std::string> folders = {"/tmp", "/dev/shm"};
  return folders;
}

}  // namespace

static_assert(sizeof(Step) == sandbox::kFailedStepBytes);

Result<sandbox::Frozen> Engine::freeze(const sandbox::ImageFreeze& freeze) {
  FreezeRequest request{.pid = freeze.pid,
                        .output_pipe = freeze.output_pipe,
                        .strict_connections = freeze.spec.strict_connections,
                        .private_folders = private_folders(),
                        .environment_filters = 1,
                        .host_port = freeze.spec.runtime_api_port,
                        .host_calls = {},
                        .calls_port = freeze.spec.calls_port};
  for (const sandbox::PendingCall& call : freeze.spec.pending) request.host_calls[call.port] = call.request;
  ASSIGN_OR_RETURN(const FreezeReport report, snapshot::freeze(request, freeze.image));
  return sandbox::Frozen{.file_bytes = report.file_bytes,
                         .pages_bytes = report.pages_bytes,
                         .held = std::chrono::microseconds(report.held_us),
                         .threads = report.threads};
}

void Engine::become(const sandbox::ImageRestore& restore) {
  const auto refuse = [&](const Error& error) {
    const std::string message = restore.failed(error);
    (void)!::write(restore.report.get(), message.data(), message.size());
    ::_exit(kStepFailedStatus);
  };
  const auto image = read_loaded_image(restore.image, kImageBase);
  if (!image.ok()) refuse(image.error());
  if (!here_.ok()) refuse(here_.error());
  if (*here_ != image->fingerprint) {
    refuse({ErrorKind::unsupported, "the snapshot was taken with another kernel, CPU or boot of the machine",
            "Snapshot.OtherMachine"});
  }
  snapshot::become({.image = *image,
                    .image_file = restore.image,
                    .share_memory =
                        [&](const UniqueFd& userfault, const std::vector<AddressRange>& content) {
                          return restore.share_memory(userfault, encode_pager_add(content));
                        },
                    .output = restore.output,
                    .report = restore.report,
                    .running = restore.running,
                    .failed = restore.failed,
                    .user = restore.user,
                    .filter = restore.filter,
                    .private_folders = private_folders()});
}

void Engine::serve_faults(UniqueFd control) {
  const auto pager = Pager::create(std::move(control));
  if (!pager.ok()) {
    log::error("pager_failed error=\"{}\"", pager.error().message);
    ::_exit(1);
  }
  (*pager)->run();
  ::_exit(0);
}

}  // namespace thaw::snapshot
