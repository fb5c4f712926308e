// The durable rows behind the catalog: one row a function. The only file here that names the database library, so that
// a database on another machine can stand behind the same interface.
//
// Ownership: one connection. Threads: one at a time (the catalog's lock). Errors: corrupt names the file, unavailable
// when the disk is full, internal for the rest. No exception leaves.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "model/function.h"

namespace thaw::control {

class FunctionTable {
 public:
  // Opens or makes the SQLite file; a write that returned is on the disk (WAL, synchronous=FULL).
  static Result<std::unique_ptr<FunctionTable>> open_sqlite(const std::string& path);
  virtual ~FunctionTable() = default;

  // Every row, in no order. Stops at the first row that cannot be read.
  virtual Status load(const std::function<void(model::FunctionRecord)>& row) = 0;
  // Inserts or replaces the row of the record's name (without regard to case).
  virtual Status put(const model::FunctionRecord& record) = 0;
  virtual Status erase(const std::string& name) = 0;
};

// Names are unique without regard to ASCII case: this is the form that is compared.
std::string folded_name(std::string_view name);

}  // namespace thaw::control
