// A table or query of a SQLite file, read only.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "ports/table_reader.h"

namespace thaw::adapters {

struct SqliteSource {
  std::string path;
  // One of these: the name of a table or view, or one SELECT.
  std::string table;
  std::string query;
};

// Rows whose time is a number are left out when they are outside of the bounds; so are those whose time is a text that
// begins with a date, where that is more than a day outside. Others are given out. Waits 10 s for a writer that has
// locked the file. Errors: as TableReader's; invalid_argument too when the query is no SELECT.
Result<std::unique_ptr<ports::TableReader>> open_sqlite_table(const SqliteSource& source,
                                                              const ports::TableRequest& request);

}  // namespace thaw::adapters
