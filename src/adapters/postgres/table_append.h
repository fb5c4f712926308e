// Rows into a table of somebody's PostgreSQL database.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace thaw::adapters {

// rows: a JSON array of objects with the columns as members, which PostgreSQL makes the types of its columns (lists its
// arrays, or JSON). All or none, committed when it returns. The connection is made within 10 s, the statement takes 60
// s at most. Errors: unavailable, invalid_argument, internal; with the server's name and never its password.
Status append_postgres_rows(const std::string& url, const std::string& table, const std::vector<std::string>& columns,
                            const std::string& rows);

}  // namespace thaw::adapters
