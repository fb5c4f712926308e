// Bytes of CSV in, records out: libcsv as an owned value, with bounds.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct csv_parser;

namespace thaw::adapters {

// Nothing: an empty field without quotes.
using CsvField = std::optional<std::string>;
using CsvRecord = std::vector<CsvField>;

// Fields are ports::kTableCellBytesMax bytes at most, records ports::kTableRowBytesMax and ports::kTableColumnsMax
// fields. Spaces belong to their field. A quote inside a field without quotes, and one that is never closed, are
// errors. Threads: one at a time. Errors: invalid_argument, naming the record, from 1; the parser takes no more then.
class CsvParser {
 public:
  explicit CsvParser(char delimiter);
  ~CsvParser();
  CsvParser(const CsvParser&) = delete;
  CsvParser& operator=(const CsvParser&) = delete;

  Status feed(std::string_view bytes);
  // Behind the last byte.
  Status finish();
  // The next whole record: false when there is none yet. What was fed is kept until it is taken: feed no more before.
  bool take(CsvRecord& record);

 private:
  void add_field(const char* bytes, std::size_t count);
  void end_record();
  Status check() const;
  Error error(const std::string& what) const;

  std::unique_ptr<csv_parser> parser_;
  std::deque<CsvRecord> records_;
  CsvRecord record_;
  std::size_t record_bytes_ = 0;
  std::uint64_t records_ended_ = 0;
  std::string broken_;  // a bound that was passed
};

}  // namespace thaw::adapters
