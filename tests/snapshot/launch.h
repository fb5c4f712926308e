// Starts a program, or the clone of an image, as process 2 of a PID namespace of its own: as functions run.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "snapshot/image.h"
#include "snapshot/image_memory.h"

namespace thaw::snapshot {

// Whether /tmp and /dev/shm are the machine's, or empty ones of its own, as in an environment.
enum class Folders { shared, own };

struct CloneOptions {
  uid_t user = 0;
  Folders folders = Folders::shared;
  bool copied = false;  // all memory, as where there is no userfaultfd
};

// Ends with everything in its namespace when it is dropped.
class Launched {
 public:
  static Launched program(const std::vector<std::string>& command, Folders folders = Folders::shared);
  // The image outlives the call only. Its faults are served by a pager of this process's own.
  static Launched clone_of(const Image& image, const ImageMemory& memory, const CloneOptions& options = {});
  Launched(Launched&& other) noexcept;
  ~Launched();

  pid_t pid() const { return pid_; }  // of process 2, as seen here
  std::uint64_t output_inode() const { return output_inode_; }
  // The next line of its output; an error's text when there is none within a minute.
  std::string line();
  // The answer to an HTTP/1.1 request that says Connection: close; empty when nobody listens.
  std::string ask(std::uint16_t port, const std::string& request) const;
  // What it said before it ran on, or why it did not; clones only.
  const std::string& report() const { return report_; }
  std::uint64_t restore_us() const { return restore_us_; }

 private:
  Launched() = default;
  pid_t keeper_ = -1;  // process 1
  pid_t pid_ = -1;
  UniqueFd output_;
  std::uint64_t output_inode_ = 0;
  std::string report_;
  std::string pending_;
  std::uint64_t restore_us_ = 0;
};

}  // namespace thaw::snapshot
