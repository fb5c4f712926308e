#include <algorithm>
#include <thread>

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include "adapters/postgres/outcome_table.h"
#include "adapters/postgres/table.h"
#include "adapters/sqlite/outcome_table.h"
#include "adapters/sqlite/table.h"
#include "base/base64.h"
#include "batch_output.h"
#include "batch_sources.h"
#include "interrupt.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kRowsAtOnce = 256;
constexpr std::string_view kMyTable = "outcomes";
constexpr milliseconds kFirstBackoff{500};
constexpr milliseconds kLastBackoff{30000};
constexpr milliseconds kLookEvery{100};

// False when ctrl-C came first.
bool sleep_for(milliseconds time) {
  for (milliseconds slept{0}; slept < time; slept += kLookEvery) {
    if (InterruptGuard::signal_seen() != 0) return false;
    std::this_thread::sleep_for(kLookEvery);
  }
  return true;
}

// Databases take no zero bytes within texts.
std::string without_zeros(std::string text) {
  std::erase(text, '\0');
  return text;
}

ports::OutcomeRow row_of(const BatchOutcome& outcome) {
  ports::OutcomeRow row;
  row.id = without_zeros(outcome.id);
  row.status = outcome.status;
  row.error = without_zeros(outcome.error);
  row.duration_us = static_cast<std::int64_t>(outcome.duration_ms * 1000);
  switch (outcome.kind) {
    case AnswerKind::none:
      break;
    case AnswerKind::json:
      row.output = outcome.answer;
      break;
    case AnswerKind::text:
      row.output = json::serialize(json::string(outcome.answer));
      break;
    case AnswerKind::bytes:
      row.output = "{\"base64\":\"" + base64_encoded(outcome.answer) + "\"}";
      break;
  }
  return row;
}

class TableOutput final : public BatchOutput {
 public:
  TableOutput(std::unique_ptr<ports::OutcomeTable> table, unsigned retries)
      : table_(std::move(table)), retries_(retries) {}

  std::size_t at_once_max() const override { return kRowsAtOnce; }

  Status write(std::span<const BatchOutcome> outcomes) override {
    std::vector<ports::OutcomeRow> rows;
    std::transform(outcomes.begin(), outcomes.end(), std::back_inserter(rows), row_of);
    milliseconds backoff = kFirstBackoff;
    for (unsigned tries = 0;; ++tries) {
      Status put = table_->put(rows);
      // Putting them twice does no harm.
      if (put.ok() || put.error().kind != ErrorKind::unavailable || tries == retries_) return put;
      if (!sleep_for(backoff)) return put;
      backoff = std::min(backoff * 2, kLastBackoff);
    }
  }

  Status flush() override { return table_->flush(); }

 private:
  std::unique_ptr<ports::OutcomeTable> table_;
  unsigned retries_;
};

struct OpenedTable {
  std::unique_ptr<ports::OutcomeTable> table;
  std::unique_ptr<ports::TableReader> rows;  // id, error
};

Result<OpenedTable> open_table(const TableTarget& target) {
  OpenedTable opened;
  const ports::TableRequest request{.columns = {"id", "error"}, .bounds = {}};
  if (target.address.starts_with(kSqlitePrefix)) {
    const std::string path = target.address.substr(kSqlitePrefix.size());
    ASSIGN_OR_RETURN(opened.table, adapters::open_sqlite_outcomes(path, target.table));
    ASSIGN_OR_RETURN(opened.rows,
                     adapters::open_sqlite_table({.path = path, .table = target.table, .query = {}}, request));
    return opened;
  }
  ASSIGN_OR_RETURN(opened.table, adapters::open_postgres_outcomes(target.address, target.table));
  ASSIGN_OR_RETURN(opened.rows,
                   adapters::open_postgres_table({.url = target.address, .table = target.table, .query = {}}, request));
  return opened;
}

}  // namespace

TableTarget table_target(const std::string& output, const std::string& table) {
  TableTarget target{output, table};
  if (const std::size_t mark = output.rfind('#'); table.empty() && mark != std::string::npos) {
    target.address.resize(mark);
    target.table = output.substr(mark + 1);
  }
  if (target.table.empty()) target.table = kMyTable;
  return target;
}

Result<OpenedOutput> open_table_output(const TableTarget& target, ExistingOutput existing, unsigned retries) {
  ASSIGN_OR_RETURN(OpenedTable opened, open_table(target));
  OpenedOutput output;
  ports::TableRow row;
  while (existing == ExistingOutput::refuse || existing == ExistingOutput::resume) {
    ASSIGN_OR_RETURN(const bool more, opened.rows->next(row));
    if (!more) break;
    if (existing == ExistingOutput::refuse)
      return Error{ErrorKind::conflict, "the table " + target.table +
                                            " has outcomes already: --resume goes on with what is missing in it or "
                                            "has failed, --restart begins anew and drops them"};
    const auto* id = std::get_if<std::string>(&row[0]);
    if (id == nullptr) return invalid_argument("the table " + target.table + " has an id that is no text");
    if (std::holds_alternative<std::monostate>(row[1])) {
      RETURN_IF_ERROR(output.finished->add(*id));
    } else {
      ++output.failed_before;
    }
  }
  output.finished->seal();
  // It may lock the table.
  opened.rows.reset();
  if (existing == ExistingOutput::restart) RETURN_IF_ERROR(opened.table->clear());
  output.output = std::make_unique<TableOutput>(std::move(opened.table), retries);
  return output;
}

}  // namespace thaw::cli
