#include <charconv>
#include <cmath>

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include "adapters/csv/csv_table.h"
#include "adapters/postgres/table.h"
#include "adapters/sqlite/table.h"
#include "base/base64.h"
#include "batch_sources.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

// A query is read as slowly as the function works.
constexpr std::chrono::hours kQueryMax{24 * 7};

std::string quoted(std::string_view text) { return json::serialize(json::string(text.data(), text.size())); }

// The shortest digits that mean the number.
std::string text_of(double number) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number);
  return {text, end.ptr};
}

struct CellText {
  std::string operator()(std::monostate) const { return "null"; }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  // JSON has neither infinity nor NaN.
  std::string operator()(double value) const { return std::isfinite(value) ? text_of(value) : "null"; }
  std::string operator()(const std::string& value) const {
    return is_valid_utf8(value) ? quoted(value) : '"' + base64_encoded(value) + '"';
  }
};

// Each row is a JSON object.
class TableSource final : public BatchSource {
 public:
  // id_column: of the reader's; nothing: the row's number is the id.
  TableSource(std::unique_ptr<ports::TableReader> reader, std::optional<std::size_t> id_column)
      : reader_(std::move(reader)), id_column_(id_column) {
    for (const std::string& name : reader_->columns()) names_.push_back(quoted(name) + ":");
  }

  Result<std::optional<BatchItem>> next() override {
    ASSIGN_OR_RETURN(const bool more, reader_->next(row_));
    if (!more) return std::optional<BatchItem>();
    BatchItem item;
    item.content_type = "application/json";
    item.id = std::to_string(reader_->row_number());
    item.body = "{";
    for (std::size_t i = 0; i < row_.size(); ++i) {
      if (i > 0) item.body += ',';
      item.body += names_[i] + std::visit(CellText(), row_[i]);
    }
    item.body += '}';
    if (id_column_) take_id(item);
    if (item.body.size() > kBatchLineBytesMax)
      item.fault = "row " + std::to_string(reader_->row_number()) + " is larger than " +
                   std::to_string(kBatchLineBytesMax >> 20) + " MB";
    return std::optional<BatchItem>(std::move(item));
  }

 private:
  void take_id(BatchItem& item) const {
    const ports::Cell& cell = row_[*id_column_];
    if (const auto* text = std::get_if<std::string>(&cell)) {
      item.id = is_valid_utf8(*text) ? *text : percent_encode(*text);
    } else if (!std::holds_alternative<std::monostate>(cell)) {
      item.id = std::visit(CellText(), cell);
    } else {
      item.fault =
          "row " + item.id + " has no value in the column " + reader_->columns()[*id_column_] + ", which holds the ids";
    }
  }

  std::unique_ptr<ports::TableReader> reader_;
  std::optional<std::size_t> id_column_;
  std::vector<std::string> names_;  // as they stand in the objects
  ports::TableRow row_;
};

Result<std::size_t> column_named(const ports::TableReader& reader, const std::string& name) {
  std::string listed;
  for (std::size_t i = 0; i < reader.columns().size(); ++i) {
    if (reader.columns()[i] == name) return i;
    if (i < 20) listed += (i == 0 ? "" : ", ") + reader.columns()[i];
  }
  return invalid_argument("--id-field: there is no column " + printable(name) + "; there are " + printable(listed));
}

}  // namespace

bool is_database(const std::string& address) {
  return address.starts_with(kSqlitePrefix) || address.starts_with("postgresql://") ||
         address.starts_with("postgres://");
}

Result<std::unique_ptr<BatchSource>> open_table_source(const TableInput& input) {
  const bool is_csv = !is_database(input.address);
  if (!is_csv && input.table.empty() == input.query.empty())
    return invalid_argument("a database needs one of --table NAME and --query 'SELECT …'");
  std::unique_ptr<ports::TableReader> reader;
  if (is_csv) {
    ASSIGN_OR_RETURN(reader, adapters::open_csv_table(input.address, {}));
  } else if (input.address.starts_with(kSqlitePrefix)) {
    const std::string path = input.address.substr(kSqlitePrefix.size());
    ASSIGN_OR_RETURN(reader, adapters::open_sqlite_table({path, input.table, input.query}, {}));
  } else {
    ASSIGN_OR_RETURN(reader, adapters::open_postgres_table({input.address, input.table, input.query, kQueryMax}, {}));
  }
  std::optional<std::size_t> id_column;
  if (!input.id_column.empty()) {
    ASSIGN_OR_RETURN(id_column, column_named(*reader, input.id_column));
  } else if (!is_csv) {
    // The order of a database's rows is not promised: their numbers would mean others in the next run.
    if (reader->columns().empty()) return invalid_argument("--query gives no columns");
    id_column = 0;
  }
  return std::unique_ptr<BatchSource>(std::make_unique<TableSource>(std::move(reader), id_column));
}

}  // namespace thaw::cli
