// A descriptor of a held process while it is being looked at; and the readers of its kinds.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/freeze.h"
#include "snapshot/image.h"
#include "snapshot/proc_files.h"
#include "snapshot/unix_sockets.h"

namespace thaw::snapshot {

struct Open {
  std::uint32_t number = 0;
  std::string link;
  std::string info;  // fdinfo
  struct stat status {};
  UniqueFd copy;  // the same open file description
};

inline Error refuse(const Open& open, const std::string& why) {
  return {ErrorKind::unsupported, "descriptor " + std::to_string(open.number) + " is " + why};
}

inline std::uint64_t field(const Open& open, std::string_view key, int base = 10) {
  return number(value_of(open.info, key).value_or("0"), base);
}

// Sockets of a process; asks the kernel about its unix sockets at most once.
class SocketReader {
 public:
  explicit SocketReader(const FreezeRequest& request) : request_(request) {}
  Status read(const Open& open, Descriptor& descriptor);
  // With all descriptors there: every socket of a pair has its peer. Errors: unsupported.
  static Status check_pairs(const Image& image);

 private:
  Status read_internet(const Open& open, Descriptor& descriptor) const;
  Status read_datagrams(const Open& open, bool connected, Descriptor& descriptor) const;
  bool leads_to_host(const Descriptor& descriptor) const;
  Status read_host_link(const Open& open, Descriptor& descriptor) const;
  Status read_unix(const Open& open, Descriptor& descriptor);
  Status read_name(const Open& open, const UnixSocket& socket, Descriptor& descriptor) const;

  const FreezeRequest& request_;
  bool asked_ = false;
  std::map<std::uint64_t, UnixSocket> unix_;
};

// What an epoll watches. Errors: unsupported when a number it watches is closed or names another file by now.
Status read_epoll(pid_t pid, const Open& open, Descriptor& descriptor);
Status read_inotify(pid_t pid, const Open& open, Descriptor& descriptor);
// Locks that are held through the descriptor. shared_file: whether all clones would lock the same file.
enum class Lockable { own_file, shared_file };
Status read_locks(const Open& open, Lockable lockable, Descriptor& descriptor);

}  // namespace thaw::snapshot
