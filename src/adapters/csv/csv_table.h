// A CSV file as a table: RFC 4180 by way of libcsv, in UTF-8 with or without a byte order mark, lines that end in LF or
// CRLF, its first record the names of the columns. Every field is a string, and an empty one without quotes is NULL.
// Lines without anything are passed over.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "ports/table_reader.h"

namespace thaw::adapters {

struct CsvOptions {
  char delimiter = ',';
};

// The bounds of the request are left to the caller: they are not applied. Errors: as TableReader's; invalid_argument
// too when the file has no header, or names a column twice.
Result<std::unique_ptr<ports::TableReader>> open_csv_table(const std::string& path, const ports::TableRequest& request,
                                                           CsvOptions options = {});

}  // namespace thaw::adapters
