// A batch's outcomes as JSON lines (docs/batch.md), and the ids that a run before has finished.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "batch_item.h"

namespace thaw::cli {

// A set of ids in 16 bytes each: the first half of their SHA-256.
class FinishedIds {
 public:
  static constexpr std::size_t kIdsMax = 100'000'000;

  // Errors: too_large beyond kIdsMax.
  Status add(std::string_view id);
  // Once after the last add(), before the first contains().
  void seal();
  bool contains(std::string_view id) const;
  std::size_t size() const { return digests_.size(); }

 private:
  using Digest = std::array<unsigned char, 16>;
  static Digest digest_of(std::string_view id);
  std::vector<Digest> digests_;
};

enum class ExistingOutput : std::uint8_t { refuse, resume, restart };

struct OpenedOutput {
  std::unique_ptr<BatchOutput> output;
  FinishedIds finished;
  std::uint64_t failed_before = 0;  // they are taken out of the output, to be tried again
};

// The file is this process's alone until it is closed (flock(2)). With resume, a last line that is torn is cut off, and
// the lines of inputs that failed are taken out: the file is written anew beside itself, and takes its place whole.
// Errors: conflict where there is an output and nobody said what to do with it, or another batch writes it; corrupt
// where it holds something else than a batch's lines.
Result<OpenedOutput> open_lines_output(const std::string& path, ExistingOutput existing);
// Standard output.
std::unique_ptr<BatchOutput> standard_output();

// One line, with '\n'.
std::string line_of(const BatchOutcome& outcome);
// JSON text without white space between its parts; its numbers and strings stay as they were written. The text must be
// valid JSON.
std::string without_white_space(std::string_view json);

}  // namespace thaw::cli
