// A table or query of a PostgreSQL server, read only, row by row as the server sends them.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "ports/table_reader.h"

namespace thaw::adapters {

struct PostgresSource {
  // As libpq takes it: postgresql://user:password@host:5432/database?sslmode=require, or key=value words.
  std::string url;
  // One of these: the name of a table or view ("schema.name" too), or one SELECT.
  std::string table;
  std::string query;
  // The server ends the statement then; its rows are read within that time too.
  std::chrono::hours statement_max{1};
};

// Whole numbers are int64, floats and numeric double, arrays a text of JSON, bytea bytes, all else text as PostgreSQL
// writes it; times are in UTC. Bounds are the server's to apply where the column is a time, a date or a number. The
// connection is made within 10 s. Errors: as TableReader's.
Result<std::unique_ptr<ports::TableReader>> open_postgres_table(const PostgresSource& source,
                                                                const ports::TableRequest& request);

}  // namespace thaw::adapters
