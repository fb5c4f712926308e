#include "adapters/csv/csv_table.h"

#include <array>
#include <unordered_map>

#include "adapters/csv/csv_parser.h"
#include "base/regular_file.h"
#include "base/sys.h"

namespace thaw::adapters {
namespace {

constexpr std::size_t kChunkBytes = 64 << 10;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// The first of a list of names, for a message.
std::string shown(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < 20; ++i) text += (i == 0 ? "" : ", ") + names[i];
  return names.size() > 20 ? text + ", ..." : text;
}

class CsvTable final : public ports::TableReader {
 public:
  CsvTable(std::string path, UniqueFd fd, CsvOptions options)
      : path_(std::move(path)), fd_(std::move(fd)), parser_(options.delimiter) {}

  Status start(const ports::TableRequest& request) {
    CsvRecord header;
    ASSIGN_OR_RETURN(const bool any, next_record(header));
    if (!any) return invalid_argument(path_ + ": the file has no header: its first line must name the columns");
    Places places;
    for (CsvField& field : header) {
      if (!field || field->empty() || field->size() > ports::kTableColumnNameBytesMax)
        return invalid_argument(path_ + ": the name of column " + std::to_string(places.size() + 1) +
                                " in the header must have 1 to " + std::to_string(ports::kTableColumnNameBytesMax) +
                                " bytes");
      if (!places.emplace(*field, places.size()).second)
        return invalid_argument(path_ + ": the header names the column " + *field + " twice");
      columns_.push_back(std::move(*field));
    }
    fields_ = columns_.size();
    if (request.bounds) RETURN_IF_ERROR(check_column(places, request.bounds->column));
    if (request.columns.empty()) {
      for (std::size_t i = 0; i < fields_; ++i) wanted_.push_back(i);
      return {};
    }
    for (const std::string& name : request.columns) {
      RETURN_IF_ERROR(check_column(places, name));
      wanted_.push_back(places.at(name));
    }
    columns_ = request.columns;
    return {};
  }

  const std::vector<std::string>& columns() const override { return columns_; }
  std::uint64_t row_number() const override { return row_; }

  Result<bool> next(ports::TableRow& row) override {
    ASSIGN_OR_RETURN(const bool any, next_record(record_));
    if (!any) return false;
    ++row_;
    if (record_.size() != fields_)
      return invalid_argument(path_ + ": row " + std::to_string(row_) + " has " + std::to_string(record_.size()) +
                              " fields, the header has " + std::to_string(fields_));
    row.resize(wanted_.size());
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      const CsvField& field = record_[wanted_[i]];
      if (field) {
        row[i] = *field;
      } else {
        row[i] = std::monostate();
      }
    }
    return true;
  }

 private:
  using Places = std::unordered_map<std::string, std::size_t>;

  Status check_column(const Places& places, const std::string& name) const {
    if (places.contains(name)) return {};
    return invalid_argument(path_ + ": there is no column " + name + "; the header has " + shown(columns_));
  }

  Result<bool> next_record(CsvRecord& record) {
    while (!parser_.take(record)) {
      if (ended_) return false;
      RETURN_IF_ERROR(read_chunk());
    }
    return true;
  }

  Status read_chunk() {
    std::array<char, kChunkBytes> chunk;
    ASSIGN_OR_RETURN(const std::size_t count, sys::read_some(fd_, chunk));
    std::string_view bytes(chunk.data(), count);
    if (std::exchange(first_, false) && bytes.starts_with(kByteOrderMark)) bytes.remove_prefix(kByteOrderMark.size());
    ended_ = count == 0;
    Status parsed = ended_ ? parser_.finish() : parser_.feed(bytes);
    if (!parsed.ok()) {
      ended_ = true;
      return invalid_argument(path_ + ": " + parsed.error().message);
    }
    return {};
  }

  const std::string path_;
  const UniqueFd fd_;
  CsvParser parser_;
  std::vector<std::string> columns_;
  std::size_t fields_ = 0;           // of each record
  std::vector<std::size_t> wanted_;  // places of columns_ in a record
  CsvRecord record_;
  std::uint64_t row_ = 0;
  bool first_ = true;
  bool ended_ = false;
};

}  // namespace

Result<std::unique_ptr<ports::TableReader>> open_csv_table(const std::string& path, const ports::TableRequest& request,
                                                           CsvOptions options) {
  ASSIGN_OR_RETURN(UniqueFd fd, open_regular_file(path));
  auto table = std::make_unique<CsvTable>(path, std::move(fd), options);
  RETURN_IF_ERROR(table->start(request));
  return std::unique_ptr<ports::TableReader>(std::move(table));
}

}  // namespace thaw::adapters
