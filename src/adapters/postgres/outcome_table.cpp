#include "adapters/postgres/outcome_table.h"

#include <array>
#include <unordered_map>

#include "adapters/postgres/connection.h"
#include "adapters/postgres/identifier.h"

namespace thaw::adapters {
namespace {

// Of pg_type.dat.
constexpr Oid kText = 25;
constexpr Oid kTextArray = 1009;
constexpr Oid kInt8Array = 1016;
constexpr std::array<Oid, 5> kPutTypes = {kTextArray, kInt8Array, kTextArray, kTextArray, kInt8Array};
constexpr PostgresConnection::Timeouts kTimeouts{.connect = std::chrono::seconds(10),
                                                 .command = std::chrono::seconds(60)};

class PostgresOutcomes final : public ports::OutcomeTable {
 public:
  PostgresOutcomes(std::string url, std::string name, const std::string& table)
      : url_(std::move(url)),
        name_(std::move(name)),
        table_(postgres_table_name(table)),
        put_sql_("INSERT INTO " + table_ +
                 " (id, status, output, error, duration_ms) "
                 "SELECT id, NULLIF(status, 0), NULLIF(output, ''), NULLIF(error, ''), duration_us / 1000.0 "
                 "FROM unnest($1, $2, $3, $4, $5) AS row (id, status, output, error, duration_us) "
                 "ON CONFLICT (id) DO UPDATE SET status = excluded.status, output = excluded.output, "
                 "error = excluded.error, duration_ms = excluded.duration_ms") {}

  Status start() {
    return execute("CREATE TABLE IF NOT EXISTS " + table_ +
                   " (id text PRIMARY KEY, status integer, output text, error text, duration_ms double precision)");
  }

  Status put(std::span<const ports::OutcomeRow> rows) override {
    // One statement sets a row once: of several with one id the last one counts.
    std::unordered_map<std::string_view, const ports::OutcomeRow*> last;
    for (const ports::OutcomeRow& row : rows) last[row.id] = &row;
    std::vector<std::string_view> ids;
    std::vector<std::string_view> outputs;
    std::vector<std::string_view> errors;
    std::vector<std::int64_t> statuses;
    std::vector<std::int64_t> durations;
    for (const auto& [id, row] : last) {
      ids.push_back(id);
      outputs.push_back(row->output);
      errors.push_back(row->error);
      statuses.push_back(row->status);
      durations.push_back(row->duration_us);
    }
    const std::array<std::string, 5> parameters = {postgres_array(kText, ids), postgres_numbers(statuses),
                                                   postgres_array(kText, outputs), postgres_array(kText, errors),
                                                   postgres_numbers(durations)};
    RETURN_IF_ERROR(connect());
    ASSIGN_OR_RETURN(const PostgresResult done,
                     connection_->run({.name = "put", .sql = put_sql_.c_str(), .types = kPutTypes}, parameters));
    return {};
  }

  Status clear() override { return execute("DELETE FROM " + table_); }

  // A commit is on the server's disk before it is answered.
  Status flush() override { return {}; }

 private:
  Status connect() {
    if (connection_ != nullptr && !connection_->lost()) return {};
    connection_.reset();
    ASSIGN_OR_RETURN(connection_, PostgresConnection::open(url_, name_, kTimeouts));
    return {};
  }

  Status execute(const std::string& sql) {
    RETURN_IF_ERROR(connect());
    ASSIGN_OR_RETURN(const PostgresResult done, connection_->execute(sql));
    return {};
  }

  const std::string url_;
  const std::string name_;
  const std::string table_;  // quoted
  const std::string put_sql_;
  std::unique_ptr<PostgresConnection> connection_;
};

}  // namespace

Result<std::unique_ptr<ports::OutcomeTable>> open_postgres_outcomes(const std::string& url, const std::string& table) {
  ASSIGN_OR_RETURN(std::string name, postgres_name(url));
  auto outcomes = std::make_unique<PostgresOutcomes>(url, std::move(name), table);
  RETURN_IF_ERROR(outcomes->start());
  return std::unique_ptr<ports::OutcomeTable>(std::move(outcomes));
}

}  // namespace thaw::adapters
