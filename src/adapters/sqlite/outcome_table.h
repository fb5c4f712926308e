// A table of outcomes in a SQLite file, which is made for its owner alone, and set to WAL mode so that it can be read
// meanwhile.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "ports/outcome_table.h"

namespace thaw::adapters {

// Errors: as OutcomeTable's.
Result<std::unique_ptr<ports::OutcomeTable>> open_sqlite_outcomes(const std::string& path, const std::string& table);

}  // namespace thaw::adapters
