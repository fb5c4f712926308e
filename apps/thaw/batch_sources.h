// The inputs of a batch out of a folder, the lines of a file, or the rows of a table.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "batch_item.h"

namespace thaw::cli {

struct FolderInput {
  std::string folder;
  // Globs, of a file's name, or of its path below the folder where they have a '/'; none: all files.
  std::vector<std::string> include;
  // Counted first, so that share_read() knows.
  bool count = false;
  // A file that is no input: the batch's own output.
  std::string except;
};
// Every regular file below it, links to files too; sorted within each folder, folders between their neighbours. What
// begins with a dot is passed over, links to folders are not followed. The id is the path below the folder.
// Errors: not_found, or invalid_argument about a folder with more names or deeper than is taken.
Result<std::unique_ptr<BatchSource>> open_folder_source(const FolderInput& input);

struct LinesInput {
  std::string path;
  // A member of each line's object; empty: the line's number.
  std::string id_field;
};
// Each line is a JSON value; empty ones are passed over.
Result<std::unique_ptr<BatchSource>> open_lines_source(const LinesInput& input);

inline constexpr std::string_view kSqlitePrefix = "sqlite:";
// sqlite:PATH or postgresql://…
bool is_database(const std::string& address);

struct TableInput {
  std::string address;  // of a database, or a CSV file's path
  // Of a database, one of these.
  std::string table;
  std::string query;
  // The column with the ids. Empty: a database's first column, a CSV file's row numbers.
  std::string id_column;
};
// Each row is a JSON object of its columns; what is no UTF-8 is base64. Errors: those of ports::TableReader.
Result<std::unique_ptr<BatchSource>> open_table_source(const TableInput& input);

// By the name's extension: image/jpeg, application/json and so on; application/octet-stream where it says nothing.
std::string content_type_of(const std::string& name);

}  // namespace thaw::cli
