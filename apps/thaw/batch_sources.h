// The inputs of a batch out of a folder, or the lines of a file.
#pragma once

#include <memory>
#include <string>
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

// By the name's extension: image/jpeg, application/json and so on; application/octet-stream where it says nothing.
std::string content_type_of(const std::string& name);

}  // namespace thaw::cli
