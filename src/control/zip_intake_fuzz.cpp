// Whatever the bytes: a package inside its folder, or an error, and nothing outside the folder.
#include "control/zip_intake.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/sys.h"

namespace {

// ROOT/a/b/out takes the package; ROOT, ROOT/a and ROOT/a/b must stay as they are.
std::string make_root() {
  std::string path =
      (std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp") + std::string("/thaw-fuzz-XXXXXX");
  if (::mkdtemp(path.data()) == nullptr) std::abort();
  return path;
}

std::size_t count_in(const std::string& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

struct Root {
  const std::string path = make_root();
  ~Root() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace thaw;
  static const Root root;
  const std::string parent = root.path + "/a/b";
  const std::string out = parent + "/out";
  std::filesystem::create_directories(out);
  {
    const UniqueFd zip(::memfd_create("zip", MFD_CLOEXEC));
    if (!zip.valid() || !sys::write_all(zip, {reinterpret_cast<const char*>(data), size}).ok()) std::abort();
    const UniqueFd folder(::open(out.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const control::IntakeLimits limits{.entries_max = 100,
                                       .unpacked_bytes_max = 1 << 20,
                                       .ratio_free_bytes = 1 << 18,
                                       .path_bytes_max = 200,
                                       .depth_max = 8};
    const auto package = control::unpack_zip(zip, folder, limits);
    if (!package && (package.error().message.empty() || package.error().kind == ErrorKind::internal)) std::abort();
    if (package) {
      std::size_t found = 0;
      for (const auto& entry : std::filesystem::recursive_directory_iterator(out)) {
        ++found;
        // A link stays inside, whatever it passes through.
        if (!entry.is_symlink()) continue;
        std::error_code code;
        const std::string target = std::filesystem::weakly_canonical(entry.path(), code).string();
        if (!code && target != out && !target.starts_with(out + "/")) std::abort();
      }
      if (found != package->entries.size() || found > limits.entries_max || package->bytes > limits.unpacked_bytes_max)
        std::abort();
    }
  }
  if (count_in(root.path) != 1 || count_in(root.path + "/a") != 1 || count_in(parent) != 1) std::abort();
  std::filesystem::remove_all(out);
  return 0;
}
