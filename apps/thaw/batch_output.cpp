#include "batch_output.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>

#include "base/base64.h"
#include "base/digest/sha256.h"
#include "base/sys.h"
#include "base/text_lines.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

// An answer grows by six where every byte of a text needs an escape.
constexpr std::size_t kOutputLineBytesMax = 6 * kBatchAnswerBytesMax + (1 << 20);
constexpr std::size_t kCopyBytes = 1 << 20;

std::string quoted(std::string_view text) { return json::serialize(json::string(text.data(), text.size())); }

class LinesFile final : public BatchOutput {
 public:
  // A regular file is appended to at its end, and cut back there when a line does not go in whole.
  LinesFile(UniqueFd fd, std::string name, bool is_regular)
      : fd_(std::move(fd)), name_(std::move(name)), is_regular_(is_regular) {}

  Status write(std::span<const BatchOutcome> outcomes) override {
    std::string line;
    for (const BatchOutcome& outcome : outcomes) line += line_of(outcome);
    const off_t before = is_regular_ ? ::lseek(fd_.get(), 0, SEEK_END) : 0;
    if (before < 0) return sys::errno_error(name_);
    Status written = sys::write_all(fd_, line);
    if (written.ok()) return {};
    if (is_regular_ && ::ftruncate(fd_.get(), before) != 0) return sys::errno_error(name_);
    return Error{written.error().kind, name_ + ": " + written.error().message};
  }

  Status flush() override {
    if (!is_regular_ || ::fdatasync(fd_.get()) == 0) return {};
    return sys::errno_error(name_);
  }

 private:
  UniqueFd fd_;
  std::string name_;
  bool is_regular_;
};

struct OldLine {
  std::string_view text;
  std::string id;
  bool ok;
};

// Every whole line of an output; its end, which is where a torn line begins.
Result<std::uint64_t> for_each_old_line(const std::string& path, const std::function<Status(const OldLine&)>& visit) {
  ASSIGN_OR_RETURN(UniqueFd file, sys::open(path, O_RDONLY));
  TextLines lines(std::move(file), kOutputLineBytesMax);
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<TextLine> line, lines.next());
    if (!line) return lines.bytes_read();
    if (!line->ended) return line->offset;
    boost::system::error_code failed;
    const json::value value = line->too_long ? json::value() : json::parse(line->text, failed);
    const json::value* id = !failed && value.is_object() ? value.get_object().if_contains("id") : nullptr;
    if (id == nullptr || !id->is_string() || !value.get_object().contains("status"))
      return Error{ErrorKind::corrupt, path + " line " + std::to_string(line->number) +
                                           " is none of a batch's: it is left as it is; name another --output"};
    RETURN_IF_ERROR(visit(OldLine{line->text, std::string(id->get_string()), !value.get_object().contains("error")}));
  }
}

// Whether it is an output at all: nothing else is dropped.
Status check_first_line(const std::string& path) {
  ASSIGN_OR_RETURN(UniqueFd file, sys::open(path, O_RDONLY));
  TextLines lines(std::move(file), kOutputLineBytesMax);
  ASSIGN_OR_RETURN(const std::optional<TextLine> line, lines.next());
  if (!line || line->text.starts_with("{\"id\":")) return {};
  return Error{
      ErrorKind::conflict,
      path + " holds something else than a batch's lines: --restart drops no such file; name another --output"};
}

Status lock_file(const UniqueFd& fd, const std::string& path) {
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return {};
  if (errno != EWOULDBLOCK) return sys::errno_error(path);
  return Error{ErrorKind::conflict, "another batch writes " + path + " now"};
}

// The output with the lines of what went well alone, in the old one's place; locked.
Result<UniqueFd> write_anew(const std::string& path, mode_t mode) {
  const std::string beside = path + ".resume";
  ASSIGN_OR_RETURN(UniqueFd file, sys::open(beside, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, mode));
  const auto copy = [&]() -> Status {
    RETURN_IF_ERROR(lock_file(file, path));
    std::string block;
    const auto kept = for_each_old_line(path, [&](const OldLine& line) -> Status {
      if (!line.ok) return {};
      block += line.text;
      block += '\n';
      if (block.size() < kCopyBytes) return {};
      RETURN_IF_ERROR(sys::write_all(file, block));
      block.clear();
      return {};
    });
    if (!kept.ok()) return kept.error();
    RETURN_IF_ERROR(sys::write_all(file, block));
    if (::fdatasync(file.get()) != 0 || ::rename(beside.c_str(), path.c_str()) != 0) return sys::errno_error(path);
    return {};
  };
  if (const Status copied = copy(); !copied.ok()) {
    ::unlink(beside.c_str());
    return Error{copied.error().kind, path + " cannot be resumed: " + copied.error().message};
  }
  return file;
}

}  // namespace

FinishedIds::Digest FinishedIds::digest_of(std::string_view id) {
  const Sha256Digest whole = sha256(id);
  Digest half;
  std::copy_n(whole.begin(), half.size(), half.begin());
  return half;
}

Status FinishedIds::add(std::string_view id) {
  if (digests_.size() == kIdsMax)
    return Error{ErrorKind::too_large, "more than " + std::to_string(kIdsMax) + " finished inputs cannot be resumed"};
  digests_.push_back(digest_of(id));
  return {};
}

void FinishedIds::seal() { std::sort(digests_.begin(), digests_.end()); }

bool FinishedIds::contains(std::string_view id) const {
  return !digests_.empty() && std::binary_search(digests_.begin(), digests_.end(), digest_of(id));
}

Result<OpenedOutput> open_lines_output(const std::string& path, ExistingOutput existing) {
  OpenedOutput opened;
  ASSIGN_OR_RETURN(UniqueFd file, sys::open(path, O_RDWR | O_CREAT | O_APPEND, 0644));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return sys::errno_error(path);
  const bool is_regular = S_ISREG(info.st_mode);
  if (is_regular) {
    RETURN_IF_ERROR(lock_file(file, path));
    if (info.st_size > 0 && existing == ExistingOutput::refuse)
      return Error{ErrorKind::conflict, path +
                                            " is there already: --resume goes on with what is missing in it or has "
                                            "failed, --restart begins anew and drops it"};
    if (existing == ExistingOutput::resume) {
      ASSIGN_OR_RETURN(const std::uint64_t end, for_each_old_line(path, [&](const OldLine& line) -> Status {
                         if (line.ok) return opened.finished->add(line.id);
                         ++opened.failed_before;
                         return {};
                       }));
      opened.finished->seal();
      if (opened.failed_before > 0) {
        ASSIGN_OR_RETURN(file, write_anew(path, info.st_mode & 0777));
      } else if (::ftruncate(file.get(), static_cast<off_t>(end)) != 0) {
        return sys::errno_error(path);
      }
    } else {
      RETURN_IF_ERROR(check_first_line(path));
      if (::ftruncate(file.get(), 0) != 0) return sys::errno_error(path);
    }
  }
  opened.output = std::make_unique<LinesFile>(std::move(file), path, is_regular);
  return opened;
}

std::unique_ptr<BatchOutput> standard_output() {
  UniqueFd shared(STDOUT_FILENO);
  Result<UniqueFd> fd = sys::duplicate(shared);
  // It stays open: what is printed at the end goes there too.
  (void)std::move(shared).release();
  return std::make_unique<LinesFile>(fd.ok() ? std::move(*fd) : UniqueFd(), "standard output", false);
}

std::string line_of(const BatchOutcome& outcome) {
  char duration[32];
  std::snprintf(duration, sizeof duration, "%.1f", outcome.duration_ms);
  std::string line = "{\"id\":" + quoted(outcome.id) + ",\"status\":";
  line += outcome.status == 0 ? "null" : std::to_string(outcome.status);
  line += std::string(",\"duration_ms\":") + duration;
  switch (outcome.kind) {
    case AnswerKind::none:
      break;
    case AnswerKind::json:
      line += ",\"output\":" + outcome.answer;
      break;
    case AnswerKind::text:
      line += ",\"output_text\":" + quoted(outcome.answer);
      break;
    case AnswerKind::bytes:
      line += ",\"output_base64\":\"" + base64_encoded(outcome.answer) + "\"";
      break;
  }
  if (!outcome.ok()) line += ",\"error\":" + quoted(outcome.error);
  return line + "}\n";
}

}  // namespace thaw::cli
