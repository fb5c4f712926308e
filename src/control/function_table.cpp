#include "control/function_table.h"

#include <fcntl.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"
#include "model/manifest.h"

namespace thaw::control {
namespace {

constexpr int kSchemaVersion = 1;

constexpr const char* kSchema[] = {
    "CREATE TABLE schema_version (version INTEGER NOT NULL)",
    "CREATE TABLE functions ("
    " name_folded TEXT PRIMARY KEY,"
    " config TEXT NOT NULL,"
    " code_sha256 TEXT NOT NULL,"
    " code_bytes BIGINT NOT NULL,"
    " revision_id TEXT NOT NULL,"
    " last_modified TEXT NOT NULL)",
};

class SociTable final : public FunctionTable {
 public:
  explicit SociTable(std::string path) : path_(std::move(path)) {}

  Status open() {
    // The variables of functions may be secrets: made before SQLite does, for the owner only; WAL files follow it.
    RETURN_IF_ERROR(sys::open(path_, O_RDWR | O_CREAT, 0600));
    return guarded("open", [&]() -> Status {
      session_.open(soci::sqlite3, "db=\"" + path_ + "\" timeout=10 synchronous=full");
      std::string mode;
      session_ << "PRAGMA journal_mode=WAL", soci::into(mode);
      if (mode != "wal") log::warn("catalog_without_wal mode={}", mode);
      std::string check;
      session_ << "PRAGMA quick_check(1)", soci::into(check);
      if (check != "ok") return damaged(check);
      return check_schema();
    });
  }

  Status load(const std::function<void(model::FunctionRecord)>& row) override {
    return guarded("read", [&]() -> Status {
      std::string config, sha, revision, modified, folded;
      long long bytes = 0;
      soci::statement select = (session_.prepare << "SELECT name_folded, config, code_sha256, code_bytes, revision_id, "
                                                    "last_modified FROM functions",
                                soci::into(folded), soci::into(config), soci::into(sha), soci::into(bytes),
                                soci::into(revision), soci::into(modified));
      select.execute();
      while (select.fetch()) {
        auto parsed = model::config_from_json(config);
        if (!parsed) return row_error(folded, std::move(parsed).error());
        if (folded_name(parsed->name) != folded) return damaged("the row " + folded + " holds another function");
        row({std::move(*parsed), sha, static_cast<std::uint64_t>(bytes), revision, modified});
      }
      return {};
    });
  }

  Status put(const model::FunctionRecord& record) override {
    return guarded("write", [&]() -> Status {
      const std::string folded = folded_name(record.config.name);
      const std::string config = model::to_json(record.config);
      const auto bytes = static_cast<long long>(record.code_bytes);
      // One statement, so it is a transaction of its own.
      session_
          << "INSERT INTO functions (name_folded, config, code_sha256, code_bytes, revision_id, last_modified) "
             "VALUES (:name, :config, :sha, :bytes, :revision, :modified) "
             "ON CONFLICT (name_folded) DO UPDATE SET config = excluded.config, code_sha256 = excluded.code_sha256, "
             "code_bytes = excluded.code_bytes, revision_id = excluded.revision_id, "
             "last_modified = excluded.last_modified",
          soci::use(folded), soci::use(config), soci::use(record.code_sha256), soci::use(bytes),
          soci::use(record.revision_id), soci::use(record.last_modified);
      return {};
    });
  }

  Status erase(const std::string& name) override {
    return guarded("write", [&]() -> Status {
      const std::string folded = folded_name(name);
      session_ << "DELETE FROM functions WHERE name_folded = :name", soci::use(folded);
      return {};
    });
  }

 private:
  Error damaged(const std::string& detail) const {
    return {ErrorKind::corrupt, "the catalog " + path_ + " is damaged (" + detail +
                                    "): restore it from a copy, or move it away to begin with no functions"};
  }

  Error row_error(const std::string& name, Error error) const {
    if (error.kind == ErrorKind::corrupt) return damaged("function " + name + ": " + error.message);
    error.message = "the catalog " + path_ + ", function " + name + ": " + error.message;
    return error;
  }

  Status check_schema() {
    int tables = 0;
    session_ << "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'", soci::into(tables);
    if (tables == 0) {
      soci::transaction transaction(session_);
      for (const char* statement : kSchema) session_ << statement;
      session_ << "INSERT INTO schema_version (version) VALUES (:version)", soci::use(kSchemaVersion);
      transaction.commit();
      return {};
    }
    int version = 0;
    session_ << "SELECT MAX(version) FROM schema_version", soci::into(version);
    if (version != kSchemaVersion) {
      return Error{ErrorKind::unsupported, "the catalog " + path_ + " has schema version " + std::to_string(version) +
                                               "; this version of Thaw reads version " +
                                               std::to_string(kSchemaVersion)};
    }
    return {};
  }

  template <class Work>
  Status guarded(const char* what, Work work) {
    try {
      return work();
    } catch (const soci::sqlite3_soci_error& error) {
      const int code = error.result() & 0xFF;
      if (code == kSqliteCorrupt || code == kSqliteNotADatabase) return damaged(error.what());
      if (code == kSqliteFull)
        return Error{ErrorKind::unavailable, "the disk is full: the catalog cannot be written", "Disk.Full"};
      return internal_error(message(what, error.what()));
    } catch (const soci::soci_error& error) {
      // Some paths of the library lose the code and keep the text.
      const std::string text = error.what();
      if (text.find("malformed") != std::string::npos || text.find("not a database") != std::string::npos)
        return damaged(text);
      return internal_error(message(what, text));
    } catch (const std::exception& error) {
      return internal_error(message(what, error.what()));
    }
  }

  std::string message(const char* what, const std::string& detail) const {
    return std::string("cannot ") + what + " the catalog " + path_ + ": " + detail;
  }

  // "Result and Error Codes", SQLite documentation.
  static constexpr int kSqliteCorrupt = 11;
  static constexpr int kSqliteFull = 13;
  static constexpr int kSqliteNotADatabase = 26;

  const std::string path_;
  soci::session session_;
};

}  // namespace

std::string folded_name(std::string_view name) {
  std::string folded(name);
  for (char& c : folded) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return folded;
}

Result<std::unique_ptr<FunctionTable>> FunctionTable::open_sqlite(const std::string& path) {
  if (path.find('"') != std::string::npos)
    return invalid_argument("the data folder's name holds a quotation mark: " + path);
  auto table = std::make_unique<SociTable>(path);
  RETURN_IF_ERROR(table->open());
  return std::unique_ptr<FunctionTable>(std::move(table));
}

}  // namespace thaw::control
