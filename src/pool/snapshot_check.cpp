#include "pool/snapshot_check.h"

#include <set>

#include "snapshot/image_file.h"
#include "snapshot/proc_files.h"

namespace thaw::pool {
namespace {

// Environments see these folders of the host as they are. What lies elsewhere (the package) is looked at by the
// restore.
bool is_hosts(std::string_view path) {
  return path.starts_with("/usr/") || path.starts_with("/lib/") || path.starts_with("/lib64/") ||
         path.starts_with("/bin/") || path.starts_with("/sbin/");
}

Status check_file(const std::string& path, const snapshot::FileIdentity& expected) {
  const auto found = snapshot::identify(path);
  if (found.ok() && *found == expected) return {};
  return Error{ErrorKind::unsupported, path + " is not the file that it was when the snapshot was taken"};
}

}  // namespace

Status check_image(const UniqueFd& file) {
  static const Result<snapshot::Fingerprint> here = snapshot::this_machine();
  ASSIGN_OR_RETURN(const snapshot::Image image, snapshot::read_image(file));
  if (!here.ok()) return here.error();
  if (*here != image.fingerprint) {
    return Error{ErrorKind::unsupported, "the snapshot was taken with another kernel, CPU or boot of the machine",
                 "Snapshot.OtherMachine"};
  }
  std::set<std::string_view> seen;
  if (is_hosts(image.process.executable))
    RETURN_IF_ERROR(check_file(image.process.executable, image.process.executable_file));
  for (const snapshot::Mapping& mapping : image.mappings) {
    if (mapping.kind != snapshot::MappingKind::file || !is_hosts(mapping.name) || !seen.insert(mapping.name).second)
      continue;
    RETURN_IF_ERROR(check_file(mapping.name, mapping.file));
  }
  return {};
}

}  // namespace thaw::pool
