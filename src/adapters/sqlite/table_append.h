// Rows into a table of somebody's SQLite file.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace thaw::adapters {

// rows: a JSON array of objects with the columns as members; lists become their JSON. All or none; on the disk when it
// returns. The file and the table must be there. Waits 10 s for another writer. Errors: unavailable, invalid_argument
// (a column or table that is not there, a row that the table refuses), not_found, corrupt.
Status append_sqlite_rows(const std::string& path, const std::string& table, const std::vector<std::string>& columns,
                          const std::string& rows);

}  // namespace thaw::adapters
