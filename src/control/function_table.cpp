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

constexpr int kSchemaVersion = 3;

// What version 1 had.
constexpr const char* kSchema[] = {
    "CREATE TABLE functions ("
    " name_folded TEXT PRIMARY KEY,"
    " config TEXT NOT NULL,"
    " code_sha256 TEXT NOT NULL,"
    " code_bytes BIGINT NOT NULL,"
    " revision_id TEXT NOT NULL,"
    " last_modified TEXT NOT NULL)",
};

// What version 2 added. Numbers have a table of their own: they outlive the function.
constexpr const char* kSchemaOfVersions[] = {
    "CREATE TABLE versions ("
    " name_folded TEXT NOT NULL,"
    " version BIGINT NOT NULL,"
    " config TEXT NOT NULL,"
    " code_sha256 TEXT NOT NULL,"
    " code_bytes BIGINT NOT NULL,"
    " revision_id TEXT NOT NULL,"
    " last_modified TEXT NOT NULL,"
    " description TEXT NOT NULL,"
    " PRIMARY KEY (name_folded, version))",
    "CREATE TABLE aliases ("
    " name_folded TEXT NOT NULL,"
    " alias TEXT NOT NULL,"
    " function_version TEXT NOT NULL,"
    " description TEXT NOT NULL,"
    " additional_version TEXT NOT NULL,"
    " additional_weight DOUBLE PRECISION NOT NULL,"
    " revision_id TEXT NOT NULL,"
    " PRIMARY KEY (name_folded, alias))",
    "CREATE TABLE version_numbers ("
    " name_folded TEXT PRIMARY KEY,"
    " last_version BIGINT NOT NULL)",
};

// What version 3 added.
constexpr const char* kSchemaOfSettings[] = {
    "CREATE TABLE settings ("
    " name_folded TEXT NOT NULL,"
    " kind TEXT NOT NULL,"
    " qualifier TEXT NOT NULL,"
    " body TEXT NOT NULL,"
    " PRIMARY KEY (name_folded, kind, qualifier))",
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

  Status load(const Rows& rows) override {
    return guarded("read", [&]() -> Status {
      RETURN_IF_ERROR(load_functions(rows.function));
      RETURN_IF_ERROR(load_versions(rows.version));
      RETURN_IF_ERROR(load_aliases(rows.alias));
      RETURN_IF_ERROR(load_last_numbers(rows.last_number));
      return load_settings(rows.setting);
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
      soci::transaction transaction(session_);
      for (const char* table : {"functions", "versions", "aliases", "settings"}) {
        session_ << "DELETE FROM " << table << " WHERE name_folded = :name", soci::use(folded);
      }
      transaction.commit();
      return {};
    });
  }

  Status publish(const model::FunctionRecord& record) override {
    return guarded("write", [&]() -> Status {
      const std::string folded = folded_name(record.config.name);
      const std::string config = model::to_json(record.config);
      const auto number = static_cast<long long>(model::version_number(record.version).value_or(0));
      const auto bytes = static_cast<long long>(record.code_bytes);
      soci::transaction transaction(session_);
      session_ << "INSERT INTO versions (name_folded, version, config, code_sha256, code_bytes, revision_id, "
                  "last_modified, description) "
                  "VALUES (:name, :number, :config, :sha, :bytes, :revision, :modified, :description)",
          soci::use(folded), soci::use(number), soci::use(config), soci::use(record.code_sha256), soci::use(bytes),
          soci::use(record.revision_id), soci::use(record.last_modified), soci::use(record.description);
      session_ << "INSERT INTO version_numbers (name_folded, last_version) VALUES (:name, :number) "
                  "ON CONFLICT (name_folded) DO UPDATE SET last_version = excluded.last_version",
          soci::use(folded), soci::use(number);
      transaction.commit();
      return {};
    });
  }

  Status erase_version(const std::string& name, std::uint64_t number) override {
    return guarded("write", [&]() -> Status {
      const std::string folded = folded_name(name);
      const auto stored = static_cast<long long>(number);
      soci::transaction transaction(session_);
      session_ << "DELETE FROM versions WHERE name_folded = :name AND version = :number", soci::use(folded),
          soci::use(stored);
      erase_settings(folded, std::to_string(number));
      transaction.commit();
      return {};
    });
  }

  Status put_alias(const std::string& name, const model::Alias& alias) override {
    return guarded("write", [&]() -> Status {
      const std::string folded = folded_name(name);
      const std::string additional = alias.additional ? alias.additional->version : "";
      const double weight = alias.additional ? alias.additional->weight : 0;
      session_ << "INSERT INTO aliases (name_folded, alias, function_version, description, additional_version, "
                  "additional_weight, revision_id) "
                  "VALUES (:name, :alias, :version, :description, :additional, :weight, :revision) "
                  "ON CONFLICT (name_folded, alias) DO UPDATE SET function_version = excluded.function_version, "
                  "description = excluded.description, additional_version = excluded.additional_version, "
                  "additional_weight = excluded.additional_weight, revision_id = excluded.revision_id",
          soci::use(folded), soci::use(alias.name), soci::use(alias.function_version), soci::use(alias.description),
          soci::use(additional), soci::use(weight), soci::use(alias.revision_id);
      return {};
    });
  }

  Status erase_alias(model::QualifiedName name) override {
    return guarded("write", [&]() -> Status {
      const std::string folded = folded_name(name.function);
      const std::string alias(name.qualifier);
      soci::transaction transaction(session_);
      session_ << "DELETE FROM aliases WHERE name_folded = :name AND alias = :alias", soci::use(folded),
          soci::use(alias);
      erase_settings(folded, alias);
      transaction.commit();
      return {};
    });
  }

  Status put_setting(const std::string& name, const Setting& setting) override {
    return guarded("write", [&]() -> Status {
      const std::string folded = folded_name(name);
      const std::string kind(setting_kind_name(setting.kind));
      session_ << "INSERT INTO settings (name_folded, kind, qualifier, body) "
                  "VALUES (:name, :kind, :qualifier, :body) "
                  "ON CONFLICT (name_folded, kind, qualifier) DO UPDATE SET body = excluded.body",
          soci::use(folded), soci::use(kind), soci::use(setting.qualifier), soci::use(setting.json);
      return {};
    });
  }

  Status erase_setting(const std::string& name, SettingKind kind, const std::string& qualifier) override {
    return guarded("write", [&]() -> Status {
      const std::string folded = folded_name(name);
      const std::string stored(setting_kind_name(kind));
      session_ << "DELETE FROM settings WHERE name_folded = :name AND kind = :kind AND qualifier = :qualifier",
          soci::use(folded), soci::use(stored), soci::use(qualifier);
      return {};
    });
  }

 private:
  void erase_settings(const std::string& folded, const std::string& qualifier) {
    session_ << "DELETE FROM settings WHERE name_folded = :name AND qualifier = :qualifier", soci::use(folded),
        soci::use(qualifier);
  }

  Status load_functions(const std::function<void(model::FunctionRecord)>& row) {
    std::string config, sha, revision, modified, folded;
    long long bytes = 0;
    soci::statement select = (session_.prepare << "SELECT name_folded, config, code_sha256, code_bytes, revision_id, "
                                                  "last_modified FROM functions",
                              soci::into(folded), soci::into(config), soci::into(sha), soci::into(bytes),
                              soci::into(revision), soci::into(modified));
    select.execute();
    while (select.fetch()) {
      ASSIGN_OR_RETURN(model::FunctionConfig parsed, parsed_config(folded, config));
      row({.config = std::move(parsed),
           .code_sha256 = sha,
           .code_bytes = static_cast<std::uint64_t>(bytes),
           .revision_id = revision,
           .last_modified = modified});
    }
    return {};
  }

  Status load_versions(const std::function<void(model::FunctionRecord)>& row) {
    std::string config, sha, revision, modified, folded, description;
    long long bytes = 0, number = 0;
    soci::statement select =
        (session_.prepare << "SELECT name_folded, version, config, code_sha256, code_bytes, revision_id, "
                             "last_modified, description FROM versions",
         soci::into(folded), soci::into(number), soci::into(config), soci::into(sha), soci::into(bytes),
         soci::into(revision), soci::into(modified), soci::into(description));
    select.execute();
    while (select.fetch()) {
      ASSIGN_OR_RETURN(model::FunctionConfig parsed, parsed_config(folded, config));
      const std::string version = std::to_string(number);
      if (!model::version_number(version)) return damaged("function " + folded + " has a version " + version);
      row({.config = std::move(parsed),
           .code_sha256 = sha,
           .code_bytes = static_cast<std::uint64_t>(bytes),
           .revision_id = revision,
           .last_modified = modified,
           .version = version,
           .description = description});
    }
    return {};
  }

  Status load_aliases(const std::function<void(const std::string&, model::Alias)>& row) {
    std::string folded, name, version, description, additional, revision;
    double weight = 0;
    soci::statement select = (session_.prepare << "SELECT name_folded, alias, function_version, description, "
                                                  "additional_version, additional_weight, revision_id FROM aliases",
                              soci::into(folded), soci::into(name), soci::into(version), soci::into(description),
                              soci::into(additional), soci::into(weight), soci::into(revision));
    select.execute();
    while (select.fetch()) {
      model::Alias alias{
          .name = name, .function_version = version, .description = description, .revision_id = revision};
      if (!additional.empty()) alias.additional = model::WeightedVersion{additional, weight};
      if (const Status good = model::check_alias(alias); !good)
        return damaged("an alias of function " + folded + ": " + good.error().message);
      row(folded, std::move(alias));
    }
    return {};
  }

  Status load_last_numbers(const std::function<void(const std::string&, std::uint64_t)>& row) {
    std::string folded;
    long long number = 0;
    soci::statement select = (session_.prepare << "SELECT name_folded, last_version FROM version_numbers",
                              soci::into(folded), soci::into(number));
    select.execute();
    while (select.fetch()) {
      if (number < 0) return damaged("function " + folded + " has a last version " + std::to_string(number));
      row(folded, static_cast<std::uint64_t>(number));
    }
    return {};
  }

  Status load_settings(const std::function<void(const std::string&, Setting)>& row) {
    std::string folded, kind, qualifier, body;
    soci::statement select = (session_.prepare << "SELECT name_folded, kind, qualifier, body FROM settings",
                              soci::into(folded), soci::into(kind), soci::into(qualifier), soci::into(body));
    select.execute();
    while (select.fetch()) {
      const auto known = setting_kind(kind);
      if (!known) return damaged("function " + folded + " has a setting of the kind " + kind);
      row(folded, {.kind = *known, .qualifier = qualifier, .json = body});
    }
    return {};
  }

  Result<model::FunctionConfig> parsed_config(const std::string& folded, const std::string& config) const {
    auto parsed = model::config_from_json(config);
    if (!parsed) return row_error(folded, std::move(parsed).error());
    if (folded_name(parsed->name) != folded) return damaged("the row " + folded + " holds another function");
    return parsed;
  }

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
    // Made, or brought to the present version, whole or not at all.
    soci::transaction transaction(session_);
    int version = 1;
    if (tables == 0) {
      session_ << "CREATE TABLE schema_version (version INTEGER NOT NULL)";
      session_ << "INSERT INTO schema_version (version) VALUES (:version)", soci::use(version);
      for (const char* statement : kSchema) session_ << statement;
    }
    session_ << "SELECT MAX(version) FROM schema_version", soci::into(version);
    if (version < 1 || version > kSchemaVersion) {
      return Error{ErrorKind::unsupported, "the catalog " + path_ + " has schema version " + std::to_string(version) +
                                               "; this version of Thaw reads versions 1 to " +
                                               std::to_string(kSchemaVersion)};
    }
    if (version == kSchemaVersion) {
      transaction.rollback();
      return {};
    }
    if (version < 2) {
      for (const char* statement : kSchemaOfVersions) session_ << statement;
    }
    for (const char* statement : kSchemaOfSettings) session_ << statement;
    session_ << "UPDATE schema_version SET version = :version", soci::use(kSchemaVersion);
    transaction.commit();
    if (tables > 0) log::info("catalog_migrated from={} to={}", version, kSchemaVersion);
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
