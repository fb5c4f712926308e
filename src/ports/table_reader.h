// Reads the rows of a table or a query once, from the first to the last, one at a time: memory does not grow with the
// table. Adapters (src/adapters) implement it; all pass the contract of ports/table_reader_contract_test.h.
//
//   ASSIGN_OR_RETURN(const auto reader, adapters::open_csv_table("/data/rides.csv", {.columns = {"driver", "at"}}));
//   ports::TableRow row;
//   while (true) {
//     ASSIGN_OR_RETURN(const bool more, reader->next(row));
//     if (!more) break;
//   }
//
// Calls block their thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace thaw::ports {

inline constexpr std::size_t kTableColumnsMax = 8192;
inline constexpr std::size_t kTableColumnNameBytesMax = 256;
inline constexpr std::size_t kTableCellBytesMax = 8 << 20;
inline constexpr std::size_t kTableRowBytesMax = 32 << 20;

// As the source has it; std::monostate is NULL. Bytes are a string. A time is a string (ISO 8601) or a number of some
// unit; a list is a string of JSON. A CSV file knows no types: there all is a string, and what is empty and unquoted
// is NULL.
using Cell = std::variant<std::monostate, bool, std::int64_t, double, std::string>;

// One cell for each of the reader's columns, in their order.
using TableRow = std::vector<Cell>;

// Rows with from_us <= column < until_us are wanted, in microseconds since 1970 (a time without a zone is UTC). A
// reader may give out others too: it leaves out what its source can leave out.
struct TimeBounds {
  std::string column;
  std::optional<std::int64_t> from_us;
  std::optional<std::int64_t> until_us;
  // What a number in the column counts; it has no meaning for times that are text.
  std::int64_t number_unit_us = 1'000'000;
};

struct TableRequest {
  // Those that are wanted, in this order; none: all, in the order of the source.
  std::vector<std::string> columns;
  std::optional<TimeBounds> bounds;
};

// Threads: one at a time.
// Errors, of all: invalid_argument (no such table or column, a malformed row, a cell beyond its bound: the message
// names row and column), not_found (no such file), unavailable (the source cannot be reached or read now), corrupt,
// internal. After an error there are no more rows.
class TableReader {
 public:
  virtual ~TableReader() = default;

  virtual const std::vector<std::string>& columns() const = 0;
  // Into row, whose memory is used again: false when there are no more.
  virtual Result<bool> next(TableRow& row) = 0;
  // Of the row that next() gave last, from 1: in a CSV file the header is not counted, in SQL it is the place in the
  // answer.
  virtual std::uint64_t row_number() const = 0;
};

}  // namespace thaw::ports
