// A table of outcomes in a PostgreSQL database.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "ports/outcome_table.h"

namespace thaw::adapters {

// table: NAME or SCHEMA.NAME. A connection is made within 10 s, and a statement ends within a minute. Errors: as
// OutcomeTable's.
Result<std::unique_ptr<ports::OutcomeTable>> open_postgres_outcomes(const std::string& url, const std::string& table);

}  // namespace thaw::adapters
