#include "adapters/csv/csv_parser.h"

#include <csv.h>

#include <new>

#include "ports/table_reader.h"

namespace thaw::adapters {

CsvParser::CsvParser(char delimiter) : parser_(std::make_unique<csv_parser>()) {
  // It fails for a null pointer alone.
  ::csv_init(parser_.get(), CSV_STRICT | CSV_STRICT_FINI | CSV_EMPTY_IS_NULL);
  ::csv_set_delim(parser_.get(), static_cast<unsigned char>(delimiter));
  ::csv_set_blk_size(parser_.get(), 4096);
  // It would cut spaces around a field off.
  ::csv_set_space_func(parser_.get(), [](unsigned char) { return 0; });
}

CsvParser::~CsvParser() { ::csv_free(parser_.get()); }

void CsvParser::add_field(const char* bytes, std::size_t count) {
  record_bytes_ += count;
  if (count > ports::kTableCellBytesMax)
    broken_ = "a field has more than " + std::to_string(ports::kTableCellBytesMax) + " bytes";
  if (record_bytes_ > ports::kTableRowBytesMax)
    broken_ = "it has more than " + std::to_string(ports::kTableRowBytesMax) + " bytes";
  if (record_.size() >= ports::kTableColumnsMax)
    broken_ = "it has more than " + std::to_string(ports::kTableColumnsMax) + " fields";
  if (!broken_.empty()) return;
  if (bytes == nullptr) {
    record_.emplace_back();
  } else {
    record_.emplace_back(std::string(bytes, count));
  }
}

void CsvParser::end_record() {
  if (!broken_.empty()) return;
  ++records_ended_;
  record_bytes_ = 0;
  records_.push_back(std::move(record_));
  record_.clear();
}

Status CsvParser::feed(std::string_view bytes) {
  RETURN_IF_ERROR(check());
  const std::size_t taken = ::csv_parse(
      parser_.get(), bytes.data(), bytes.size(),
      [](void* field, std::size_t count, void* self) {
        static_cast<CsvParser*>(self)->add_field(static_cast<const char*>(field), count);
      },
      [](int, void* self) { static_cast<CsvParser*>(self)->end_record(); }, this);
  // What the parser holds of a field that has not ended.
  if (parser_->entry_pos > ports::kTableCellBytesMax)
    broken_ = "a field has more than " + std::to_string(ports::kTableCellBytesMax) + " bytes";
  if (taken != bytes.size() && broken_.empty())
    broken_ = ::csv_error(parser_.get()) == CSV_EPARSE
                  ? "a quote stands where none may: a field with one is quoted whole, and the quote written twice"
                  : ::csv_strerror(::csv_error(parser_.get()));
  return check();
}

Status CsvParser::finish() {
  RETURN_IF_ERROR(check());
  const int failed = ::csv_fini(
      parser_.get(),
      [](void* field, std::size_t count, void* self) {
        static_cast<CsvParser*>(self)->add_field(static_cast<const char*>(field), count);
      },
      [](int, void* self) { static_cast<CsvParser*>(self)->end_record(); }, this);
  if (failed != 0 && broken_.empty()) broken_ = "the file ends inside a quoted field";
  return check();
}

bool CsvParser::take(CsvRecord& record) {
  if (records_.empty()) return false;
  record = std::move(records_.front());
  records_.pop_front();
  return true;
}

Status CsvParser::check() const {
  if (broken_.empty()) return {};
  return error(broken_);
}

Error CsvParser::error(const std::string& what) const {
  return invalid_argument("record " + std::to_string(records_ended_ + 1) + " (the header is record 1): " + what);
}

}  // namespace thaw::adapters
