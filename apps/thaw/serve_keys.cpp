#include "serve_keys.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/sys.h"

namespace thaw::cli {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;

}  // namespace

Result<gateway::AccessKeys> load_access_keys(const std::string& path) {
  if (path.empty()) return gateway::AccessKeys();
  const std::string where = "aws_credentials: " + path;
  const auto file = sys::open(path, O_RDONLY | O_NONBLOCK);
  if (!file.ok()) return invalid_argument("aws_credentials: " + file.error().message);
  // Of the file that is open: what its name stands for may change.
  struct stat status {};
  if (::fstat(file->get(), &status) != 0) return sys::errno_error(where);
  if (!S_ISREG(status.st_mode)) return invalid_argument(where + " is no file");
  if ((status.st_mode & 077) != 0)
    return invalid_argument(where + " must be its owner's alone: others may read or write it (chmod 600 " + path + ")");
  const auto text = sys::read_fd(*file, kFileBytesMax, where);
  if (!text.ok()) return invalid_argument(text.error().message);
  auto keys = gateway::parse_credentials(*text);
  if (!keys.ok()) return invalid_argument(where + " " + keys.error().message);
  return keys;
}

}  // namespace thaw::cli
