// A table of a database in which the outcomes of many inputs are kept, one row an input:
//
//   id text (primary key), status integer, output text, error text, duration_ms double precision
//
// It is made where it is not there. One that is there may have other columns too; its id must be unique.
//
// Calls block their thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace thaw::ports {

struct OutcomeRow {
  std::string id;
  int status = 0;      // 0: NULL
  std::string output;  // JSON; empty: NULL
  std::string error;   // empty: NULL
  std::int64_t duration_us = 0;
};

// Threads: one at a time.
// Errors, of all: unavailable (the database is away, full or locked: the same call may work later; a lost connection is
// made anew by it), invalid_argument, corrupt, internal; with the database's name and never its password.
class OutcomeTable {
 public:
  virtual ~OutcomeTable() = default;

  // Each in place of the row with its id; all of them or none. What is kept survives the end of this process.
  virtual Status put(std::span<const OutcomeRow> rows) = 0;
  // Every row goes.
  virtual Status clear() = 0;
  // What was put survives a power cut then.
  virtual Status flush() = 0;
};

}  // namespace thaw::ports
