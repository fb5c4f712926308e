// A batch's outcomes as JSON lines or a table's rows (docs/batch.md), and the ids that a run before has finished.
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

// What to do with an output that is there. overwrite: each outcome takes the place of the one with its id; of a table.
enum class ExistingOutput : std::uint8_t { refuse, resume, restart, overwrite };

struct OpenedOutput {
  std::unique_ptr<BatchOutput> output;
  std::shared_ptr<FinishedIds> finished = std::make_shared<FinishedIds>();
  std::uint64_t failed_before = 0;  // they are taken out of the output, to be tried again
};

// The file is this process's alone until it is closed (flock(2)). With resume, a last line that is torn is cut off, and
// the lines of inputs that failed are taken out: the file is written anew beside itself, and takes its place whole.
// Errors: conflict where there is an output and nobody said what to do with it, or another batch writes it; corrupt
// where it holds something else than a batch's lines, which restart does not drop either (conflict).
Result<OpenedOutput> open_lines_output(const std::string& path, ExistingOutput existing);

struct TableTarget {
  std::string address;  // sqlite:PATH or postgresql://…
  std::string table;
};
// Of --output and --output-table; "sqlite:PATH#TABLE" names both. The table is "outcomes" where nothing names it.
TableTarget table_target(const std::string& output, const std::string& table);
// The table is made where it is not there. What is in it already is read back as an output file's lines are. A
// database that is away is waited for by write(), with longer and longer pauses, as often as retries says.
// Errors: conflict as above; those of ports::OutcomeTable.
Result<OpenedOutput> open_table_output(const TableTarget& target, ExistingOutput existing, unsigned retries);

// Standard output.
std::unique_ptr<BatchOutput> standard_output();

// One line, with '\n'.
std::string line_of(const BatchOutcome& outcome);

}  // namespace thaw::cli
