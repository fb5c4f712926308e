// Freeze: a running process becomes an image.
//
//   Tracee holds every thread -> registers, signals, timers (freeze_threads) -> memory (freeze_memory) -> descriptors
//   (freeze_descriptors) -> the image file (image_file.h) -> the process goes on, or the caller ends it
//
// What is not understood refuses the freeze: the error names the descriptor or the mapping and says what to do.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

class Objects;
class PageCopier;
class Tracee;

struct FreezeRequest {
  pid_t pid = -1;  // as this process sees it
  // The inode of the pipe that carries the function's output (fstat's st_ino); 0 for none.
  std::uint64_t output_pipe = 0;
  // A connection that is open at the freeze refuses it; otherwise it comes back as one that the peer has reset.
  bool strict_connections = false;
  // Folders of the function's own, which vanish with its environment: what lies in them belongs to the snapshot.
  std::vector<std::string> private_folders;
  // Seccomp filters that the environment gives every function, beyond those of this process; its own refuse the freeze.
  std::uint32_t environment_filters = 0;
  // Connections to this port of 127.0.0.1 are the host's own service: a clone gets them as fresh connections to it, on
  // which the calls that wait for their answers are made again. By the function's own port: the request. 0: no service.
  std::uint16_t host_port = 0;
  std::map<std::uint16_t, std::string> host_calls;
  // The same for another service, on which no call waits.
  std::uint16_t calls_port = 0;
};

struct FreezeReport {
  std::uint64_t file_bytes = 0;
  std::uint64_t pages_bytes = 0;
  std::uint32_t threads = 0;
  std::uint64_t held_us = 0;  // for so long the process stood still
};

// Writes the image of the process to `image`, an empty writable file. The process goes on unharmed, whatever happens.
// The caller needs CAP_SYS_PTRACE, CAP_SYS_ADMIN and CAP_CHECKPOINT_RESTORE. Errors: unsupported with the name of what
// cannot be frozen; not_found when the process has ended; unavailable when the disk is full.
Result<FreezeReport> freeze(const FreezeRequest& request, const UniqueFd& image);

// The parts, in the order in which freeze() runs them. Mappings and descriptors come before the tree: reading the tree
// is what a program that watches it would see.
Status read_threads(Tracee& tracee, Image& image);
Status read_process(Tracee& tracee, const FreezeRequest& request, Image& image);
Status read_mappings(Tracee& tracee, const FreezeRequest& request, Objects& objects, Image& image);
Status read_descriptors(Tracee& tracee, const FreezeRequest& request, Objects& objects, Image& image);
Status read_tree(const FreezeRequest& request, Objects& objects, Image& image);
void add_pages(Tracee& tracee, Image& image, PageCopier& copier);

}  // namespace thaw::snapshot
