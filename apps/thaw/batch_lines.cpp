#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "base/sys.h"
#include "base/text_lines.h"
#include "batch_sources.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

class LinesSource final : public BatchSource {
 public:
  LinesSource(UniqueFd file, std::uint64_t bytes, std::string id_field)
      : lines_(std::move(file), kBatchLineBytesMax), bytes_(bytes), id_field_(std::move(id_field)) {}

  Result<std::optional<BatchItem>> next() override {
    while (true) {
      ASSIGN_OR_RETURN(const std::optional<TextLine> line, lines_.next());
      read_ = lines_.bytes_read();
      if (!line) return std::optional<BatchItem>();
      if (line->text.find_first_not_of(" \t") == std::string_view::npos) continue;
      return std::optional<BatchItem>(item_of(*line));
    }
  }

  std::optional<double> share_read() const override {
    if (bytes_ == 0) return std::nullopt;
    return std::min(1.0, static_cast<double>(read_) / static_cast<double>(bytes_));
  }

 private:
  BatchItem item_of(const TextLine& line) const {
    BatchItem item{.id = std::to_string(line.number),
                   .content_type = "application/json",
                   .body = std::string(line.text),
                   .file = {},
                   .fault = {}};
    const std::string where = "line " + item.id;
    if (line.too_long) {
      item.fault = where + " is longer than " + std::to_string(kBatchLineBytesMax >> 20) + " MB";
      return item;
    }
    boost::system::error_code failed;
    const json::value value = json::parse(item.body, failed);
    if (failed) {
      item.fault = where + " is not JSON: " + failed.message();
    } else if (!id_field_.empty()) {
      take_id(value, where, item);
    }
    return item;
  }

  void take_id(const json::value& value, const std::string& where, BatchItem& item) const {
    const json::value* field = value.is_object() ? value.get_object().if_contains(id_field_) : nullptr;
    if (field == nullptr || (!field->is_string() && !field->is_number())) {
      item.fault = where + " has no text or number in the member '" + id_field_ + "' that --id-field names";
    } else {
      item.id = field->is_string() ? std::string(field->get_string()) : json::serialize(*field);
    }
  }

  TextLines lines_;
  std::uint64_t bytes_;
  std::string id_field_;
  std::atomic<std::uint64_t> read_ = 0;
};

}  // namespace

Result<std::unique_ptr<BatchSource>> open_lines_source(const LinesInput& input) {
  ASSIGN_OR_RETURN(UniqueFd file, sys::open(input.path, O_RDONLY));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return sys::errno_error(input.path);
  const std::uint64_t bytes = S_ISREG(info.st_mode) ? static_cast<std::uint64_t>(info.st_size) : 0;
  return std::unique_ptr<BatchSource>(std::make_unique<LinesSource>(std::move(file), bytes, input.id_field));
}

}  // namespace thaw::cli
