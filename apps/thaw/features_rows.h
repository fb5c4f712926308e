// Rows of a view out of a file, as the columns that a push takes.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"

namespace thaw::cli {

// Column to type, as definitions have it: what texts of a CSV file stand for. Others stay texts.
using ColumnTypes = std::map<std::string, std::string, std::less<>>;

// A value that was typed in, or stands in a CSV file: a number or true and false where the type is one, JSON where it
// is an array. What does not fit stays a text, for the daemon to say so.
boost::json::value typed_value(const std::string& text, const std::string& type);

class FeatureRows {
 public:
  virtual ~FeatureRows() = default;
  // Columns of equal length, of at most so many rows and about so many bytes; no columns at the end. Errors:
  // invalid_argument names the line.
  virtual Result<boost::json::object> next(std::size_t rows_max, std::size_t bytes_max) = 0;
};

// path: NAME.csv, or JSON lines; "-" is standard input. Errors: not_found, those of the file.
Result<std::unique_ptr<FeatureRows>> open_feature_rows(const std::string& path, ColumnTypes types);

}  // namespace thaw::cli
