// What goes through a batch: inputs, and what became of them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"

namespace thaw::cli {

inline constexpr std::size_t kBatchLineBytesMax = 16 << 20;
inline constexpr std::size_t kBatchAnswerBytesMax = 16 << 20;

struct BatchItem {
  std::string id;  // UTF-8
  std::string content_type;
  std::string body;
  // A path; not empty: the file's contents are the body, read while it is sent.
  std::string file;
  // Not empty: the input cannot be sent, and this is why.
  std::string fault;
};

enum class AnswerKind : std::uint8_t { none, json, text, bytes };

struct BatchOutcome {
  std::string id;
  int status = 0;  // HTTP's; 0: there was no answer
  double duration_ms = 0;
  AnswerKind kind = AnswerKind::none;
  std::string answer;  // of kind json: without white space between its parts, so that it is one line
  // Not empty: it failed.
  std::string error;

  bool ok() const { return error.empty(); }
};

// Where a batch's inputs come from, one after another.
//
// Ownership: owns what it reads from. Threads: next() one at a time; share_read() any.
// Errors: of next(): the source cannot be read any further. One bad input is none: its item says so.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // Nothing at the end.
  virtual Result<std::optional<BatchItem>> next() = 0;
  // How much of it has been read, 0 to 1; nothing where that is unknown.
  virtual std::optional<double> share_read() const { return std::nullopt; }
};

// Where outcomes go. They are kept once write() is back, whatever happens to this process then.
//
// Threads: one at a time. Errors: they cannot be written; nothing of them is left.
class BatchOutput {
 public:
  virtual ~BatchOutput() = default;
  // All of them or none; at_once_max() at most.
  virtual Status write(std::span<const BatchOutcome> outcomes) = 0;
  virtual std::size_t at_once_max() const { return 1; }
  // To the disk, so that a power cut takes nothing.
  virtual Status flush() = 0;
};

}  // namespace thaw::cli
