// The durable rows behind the catalog: one row a function, one a published version, one an alias, one a setting. The
// only file here that names the database library, so that a database on another machine can stand behind the same
// interface.
//
// Ownership: one connection. Threads: one at a time (the catalog's lock). Errors: corrupt names the file, unavailable
// when the disk is full, internal for the rest. No exception leaves.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "control/setting.h"
#include "model/function.h"
#include "model/version.h"

namespace thaw::control {

class FunctionTable {
 public:
  // Opens or makes the SQLite file; a write that returned is on the disk (WAL, synchronous=FULL).
  static Result<std::unique_ptr<FunctionTable>> open_sqlite(const std::string& path);
  virtual ~FunctionTable() = default;

  struct Rows {
    std::function<void(model::FunctionRecord)> function;
    std::function<void(model::FunctionRecord)> version;
    std::function<void(const std::string& name, model::Alias)> alias;
    std::function<void(const std::string& name, std::uint64_t)> last_number;
    std::function<void(const std::string& name, Setting)> setting;
  };
  // Every row, in no order within its table; names of the last three are folded. Stops at the first row that cannot be
  // read.
  virtual Status load(const Rows& rows) = 0;
  // Each of these is one transaction.
  // Inserts or replaces the row of the record's name (without regard to case).
  virtual Status put(const model::FunctionRecord& record) = 0;
  // With its versions, aliases and settings. The last number it gave stays, so that none is given twice.
  virtual Status erase(const std::string& name) = 0;
  // A new version; record.version becomes the function's last number.
  virtual Status publish(const model::FunctionRecord& record) = 0;
  virtual Status erase_version(const std::string& name, std::uint64_t number) = 0;
  virtual Status put_alias(const std::string& name, const model::Alias& alias) = 0;
  virtual Status erase_alias(model::QualifiedName name) = 0;
  virtual Status put_setting(const std::string& name, const Setting& setting) = 0;
  virtual Status erase_setting(const std::string& name, SettingKind kind, const std::string& qualifier) = 0;
};

// Names are unique without regard to ASCII case: this is the form that is compared.
std::string folded_name(std::string_view name);

}  // namespace thaw::control
