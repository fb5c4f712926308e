#include "features_rows.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <charconv>
#include <cmath>
#include <optional>

#include "adapters/csv/csv_table.h"
#include "base/sys.h"
#include "base/text_lines.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr std::size_t kLineBytesMax = 8 << 20;

class JsonLines final : public FeatureRows {
 public:
  explicit JsonLines(UniqueFd file) : lines_(std::move(file), kLineBytesMax) {}

  Result<json::object> next(std::size_t rows_max, std::size_t bytes_max) override {
    json::object columns;
    std::size_t rows = 0;
    for (std::size_t bytes = 0; rows < rows_max && bytes < bytes_max;) {
      ASSIGN_OR_RETURN(const auto line, lines_.next());
      if (!line) break;
      if (line->text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      const std::string where = "line " + std::to_string(line->number) + ": ";
      if (line->too_long)
        return invalid_argument(where + "has more than " + std::to_string(kLineBytesMax >> 20) + " MB");
      boost::system::error_code failed;
      json::value row = json::parse(line->text, failed);
      if (failed || !row.is_object()) return invalid_argument(where + "is no JSON object");
      bytes += line->text.size();
      RETURN_IF_ERROR(add(row.get_object(), where, rows++, columns));
    }
    return columns;
  }

 private:
  // Every row has the same members: what one leaves out would shift the others.
  static Status add(json::object& row, const std::string& where, std::size_t rows_before, json::object& columns) {
    for (auto& member : row) {
      const auto [column, fresh] = columns.emplace(member.key(), json::array());
      if (fresh && rows_before > 0)
        return invalid_argument(where + "has '" + std::string(std::string_view(member.key())) +
                                "', which the lines before lack: every line has the same members, null where there is "
                                "no value");
      column->value().get_array().push_back(std::move(member.value()));
    }
    for (auto& column : columns) {
      if (column.value().get_array().size() != rows_before + 1)
        return invalid_argument(where + "lacks '" + std::string(std::string_view(column.key())) +
                                "' of the lines before: every line has the same members, null where there is no value");
    }
    return {};
  }

  TextLines lines_;
};

class CsvRows final : public FeatureRows {
 public:
  CsvRows(std::unique_ptr<ports::TableReader> reader, const ColumnTypes& types) : reader_(std::move(reader)) {
    for (const std::string& name : reader_->columns()) {
      const auto type = types.find(name);
      types_.push_back(type == types.end() ? "String" : type->second);
    }
  }

  Result<json::object> next(std::size_t rows_max, std::size_t bytes_max) override {
    std::vector<json::array> columns(types_.size());
    std::size_t rows = 0;
    for (std::size_t bytes = 0; rows < rows_max && bytes < bytes_max; ++rows) {
      ASSIGN_OR_RETURN(const bool more, reader_->next(row_));
      if (!more) break;
      for (std::size_t i = 0; i < columns.size(); ++i) {
        const auto* text = std::get_if<std::string>(&row_[i]);
        bytes += text == nullptr ? 4 : text->size();
        columns[i].push_back(text == nullptr ? json::value() : typed_value(*text, types_[i]));
      }
    }
    json::object named;
    if (rows == 0) return named;
    for (std::size_t i = 0; i < columns.size(); ++i) named[reader_->columns()[i]] = std::move(columns[i]);
    return named;
  }

 private:
  std::unique_ptr<ports::TableReader> reader_;
  std::vector<std::string> types_;
  ports::TableRow row_;
};

template <class Number>
std::optional<Number> whole(const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

}  // namespace

json::value typed_value(const std::string& text, const std::string& type) {
  if (type == "Bool" && (text == "true" || text == "false")) return json::value(text == "true");
  if (type == "Int32" || type == "Int64" || type == "UnixTimestamp") {
    if (const auto number = whole<std::int64_t>(text)) return json::value(*number);
  }
  if (type == "Float32" || type == "Float64" || type == "UnixTimestamp") {
    const auto number = whole<double>(text);
    if (number && std::isfinite(*number)) return json::value(*number);
  }
  if (type.starts_with("Array(")) {
    boost::system::error_code failed;
    json::value array = json::parse(text, failed);
    if (!failed) return array;
  }
  return json::value(json::string(text));
}

Result<std::unique_ptr<FeatureRows>> open_feature_rows(const std::string& path, ColumnTypes types) {
  if (path.ends_with(".csv")) {
    ASSIGN_OR_RETURN(auto reader, adapters::open_csv_table(path, {}));
    return std::unique_ptr<FeatureRows>(std::make_unique<CsvRows>(std::move(reader), types));
  }
  if (path == "-") return std::unique_ptr<FeatureRows>(std::make_unique<JsonLines>(UniqueFd(::dup(STDIN_FILENO))));
  ASSIGN_OR_RETURN(UniqueFd file, sys::open(path, O_RDONLY));
  return std::unique_ptr<FeatureRows>(std::make_unique<JsonLines>(std::move(file)));
}

}  // namespace thaw::cli
