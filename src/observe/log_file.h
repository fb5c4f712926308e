// One function's two log files on disk, as a stream of bytes with positions that survive rotation and restarts.
//
//   NAME.log      header, then lines
//   NAME.log.1    the same, the bytes before
//
//   header = "# thaw log from byte " 20DIGIT LF
//
// The number is the stream position of the byte after the header. The positions of the two files may leave a gap
// between them (lines that the disk refused), never overlap.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace thaw::observe {

// Threads: one at a time. Errors: those of the disk; after one, the stream goes on at the position that append() was
// told, in a new file.
class LogFile {
 public:
  LogFile(const UniqueFd& folder, std::string name, std::uint64_t file_bytes_max);

  // The position after the last byte on disk; reads the disk when it is called first.
  Result<std::uint64_t> end();
  // Appends whole lines that begin at the position, rotating as needed. Returns the bytes by which the files grew,
  // less what rotation removed.
  Result<std::int64_t> append(std::uint64_t position, std::string_view lines);

  struct Bytes {
    std::string text;
    std::uint64_t begin = 0;  // position of the first byte
  };
  // The last bytes_max bytes before the end.
  Result<Bytes> read_last(std::size_t bytes_max);
  // At most bytes_max bytes from the first byte at or after the position.
  Result<Bytes> read_from(std::uint64_t position, std::size_t bytes_max);

  // Returns the bytes that this freed.
  std::int64_t remove();
  // Somebody else removed a file: look again before the next use.
  void forget() { known_ = false; }

 private:
  struct Segment {
    bool exists = false;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool torn = false;  // the last line has no end: the daemon died while writing it
  };

  Status look();
  Result<Segment> look_at(const std::string& name) const;
  Result<std::int64_t> start_new(std::uint64_t position);
  Status read_into(std::string& out, const std::string& name, const Segment& segment, std::uint64_t from,
                   std::size_t bytes_max) const;

  const UniqueFd& folder_;
  const std::string name_;
  const std::string older_name_;
  const std::uint64_t file_bytes_max_;
  bool known_ = false;
  Segment newer_;
  Segment older_;
};

}  // namespace thaw::observe
