#include "pool/extensions.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/sys.h"
#include "invoke/extensions_api.h"

namespace thaw::pool {

Result<std::vector<std::string>> external_extensions(const UniqueFd& layers) {
  std::vector<std::string> names;
  if (!layers.valid()) return names;
  auto folder = sys::openat(layers, "extensions", O_RDONLY | O_DIRECTORY);
  if (!folder.ok()) return names;
  DIR* dir = ::fdopendir(folder->get());
  if (dir == nullptr) return sys::errno_error("the folder of extensions");
  (void)std::move(*folder).release();
  while (const dirent* entry = ::readdir(dir)) {
    struct stat info {};
    if (::fstatat(::dirfd(dir), entry->d_name, &info, 0) != 0 || !S_ISREG(info.st_mode)) continue;
    names.emplace_back(entry->d_name);
    if (names.size() > invoke::kExtensionsMax) break;
  }
  ::closedir(dir);
  if (names.size() > invoke::kExtensionsMax) {
    return Error{ErrorKind::function_failed,
                 "more than " + std::to_string(invoke::kExtensionsMax) + " extensions in /opt/extensions",
                 "Extension.TooManyExtensions"};
  }
  std::sort(names.begin(), names.end());
  return names;
}

void find_bootstrap(sandbox::EnvironmentSpec& spec, const UniqueFd& package, const UniqueFd& layers) {
  if (!layers.valid() || spec.argv.empty() || spec.argv.front() != kBootstrap) return;
  if (sys::openat(package, "bootstrap", O_PATH).ok() || !sys::openat(layers, "bootstrap", O_PATH).ok()) return;
  spec.argv.front() = "/opt/bootstrap";
}

void start_with_extensions(sandbox::EnvironmentSpec& spec, const std::vector<std::string>& names) {
  if (names.empty()) return;
  std::vector<std::string> argv{"/var/runtime/thaw-extensions"};
  for (const std::string& name : names) argv.push_back("/opt/extensions/" + name);
  argv.emplace_back("--");
  argv.insert(argv.end(), spec.argv.begin(), spec.argv.end());
  spec.argv = std::move(argv);
}

}  // namespace thaw::pool
